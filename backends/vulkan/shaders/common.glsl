// What every shader shares: types for memory that is reached by address, and sums over a workgroup.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_basic : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kSubgroup = 32;  // lanes; divides the workgroup

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer F32 { float v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer I32 { int v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U32 { uint v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 2) buffer U16 { uint16_t v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer F32x4 { vec4 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Words { uvec4 v[]; };
// What another workgroup wrote, or reads, without a barrier of the command buffer between.
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer Passed { float v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) coherent buffer Passed4 { vec4 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer Counter { uint v[]; };
// Words of quantized blocks, which are aligned as their first word is.
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U32x2 { uvec2 v; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U32x4 { uvec4 v; };

const uint kF32 = 0, kF16 = 1, kBf16 = 2, kQ8 = 8;  // as the graph's dtypes are numbered

uint lane() { return gl_LocalInvocationIndex; }
uint lanes() { return gl_WorkGroupSize.x; }
// Workgroups beyond the most that one dimension has go round in z.
uint group_x() { return gl_WorkGroupID.x + gl_WorkGroupID.z * gl_NumWorkGroups.x; }

// Rows of a compact tensor, `most` of a full one, and the token of each. What is optional is known when
// a pipeline is made: a load from an address that may be null could be moved before its check.
uint active_rows(bool compact, uint64_t rows, uint most) {
  return compact ? uint(I32(rows).v[0]) : most;
}
uint token_of_row(bool compact, uint64_t rows, uint i) {
  return compact ? uint(I32(rows).v[1 + i]) : i;
}

// Four values from a row of `width`: vector loads where rows are `aligned`, else one by one, with
// zeros past the end.
vec4 load4(uint64_t row, uint i, uint width, bool aligned) {
  if (aligned) return F32x4(row).v[i];
  vec4 x = vec4(0);
  for (uint e = 0; e < 4; ++e) {
    if (4 * i + e < width) x[e] = F32(row).v[4 * i + e];
  }
  return x;
}
void store4(uint64_t row, uint i, uint width, bool aligned, vec4 x) {
  if (aligned) {
    F32x4(row).v[i] = x;
    return;
  }
  for (uint e = 0; e < 4; ++e) {
    if (4 * i + e < width) F32(row).v[4 * i + e] = x[e];
  }
}
