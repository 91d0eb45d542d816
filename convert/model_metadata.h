// The metadata keys of a model and of its tokenizer, as the ecosystem names them; those of L2A are
// the design's.
#pragma once

#include <string_view>

#include "convert/gguf_writer.h"
#include "convert/hf_config.h"
#include "graph/dtype.h"
#include "models/tokenizer.h"

namespace l2a {

// `type` is that of the matrices.
void write_model_metadata(GgufWriter& writer, const HfConfig& config, std::string_view name,
                          Dtype type);

// Null: the file says that it has no tokenizer ("no_vocab").
void write_tokenizer_metadata(GgufWriter& writer, const TokenizerData* tokenizer);

}  // namespace l2a
