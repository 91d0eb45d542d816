// The metadata keys of a model and of its tokenizer, as the ecosystem names them; those of L2A are
// the design's.
#pragma once

#include "convert/gguf_metadata.h"
#include "models/model_config.h"
#include "models/tokenizer.h"

namespace l2a {

// All that a model's own keys say; general.file_type is set when the types of its tensors are known.
void set_model_metadata(GgufMetadata& metadata, const ModelConfig& config);
// The keys of config.l2a alone.
void set_l2a_metadata(GgufMetadata& metadata, const ModelConfig& config);

// Null: the file says that it has no tokenizer ("no_vocab").
void set_tokenizer_metadata(GgufMetadata& metadata, const TokenizerData* tokenizer);

}  // namespace l2a
