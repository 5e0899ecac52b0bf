/* mid.cu - products of up to 256 rows on Hopper: x in the order of decoding, how the work is shared, launches. */
#include "mid.cuh"

/* Groups of 32, 64, 128, … codes, or a row's whole length. */
bool bl_cu_mid_takes(const bl_cu_weight *w, int64_t rows)
{
    bool narrow = w->kind == BL_CU_INT && (w->bits <= 4 || w->bits == 8) && w->zero_type <= 1,
         table = w->kind == BL_CU_TABLE && w->bits == 4, group = w->group >= w->in;
    for (int64_t g = 32; g < w->in; g *= 2) group = group || w->group == g;
#if BL_CUDA_HOPPER
    const bool built = true;
#else
    const bool built = false;
#endif
    return built && rows <= BL_CU_MID_ROWS && (narrow || table) && w->in % CHUNK == 0 && group &&
           (w->scale_type == 1 || w->scale_type == 2);
}

static mid_instance instance_of(const bl_cu_weight *w, int64_t rows)
{
    if (w->kind == BL_CU_TABLE) return mid_table4((int)rows);
    switch (w->bits) {
    case 1: return mid_int1((int)rows);
    case 2: return mid_int2((int)rows);
    case 3: return mid_int3((int)rows);
    case 4: return mid_int4((int)rows);
    default: return mid_int8((int)rows);
    }
}

/* Chunks [chunk][half][row][64 numbers], piece i of 16 bytes at i ^ row % 8; rows that are not there are zero. A warp
 * does two chunks of a row. less: for codes that are shifted, [chunk][row]: what is taken off sums, and what of each
 * zero; NULL: they are not. */
enum { ARRANGE_WARPS = 8, PAIR = 2 * CHUNK };
__global__ void __launch_bounds__(ARRANGE_WARPS *WARP) arrange(const uint16_t *x, int64_t ldx, int rows, int all_rows,
                                                               int in, int bits, bool table, uint8_t *to, float2 *less)
{
    __shared__ __align__(16) uint16_t run[ARRANGE_WARPS][PAIR];
    int lane = threadIdx.x % WARP, at = blockIdx.x * ARRANGE_WARPS + threadIdx.x / WARP, row = at % all_rows,
        pair = at / all_rows, chunk = 2 * pair + lane / 16, k = pair * PAIR + lane * 8, r = lane % 16;
    uint16_t *mine = run[threadIdx.x / WARP];
    take_turn();
    uint4 v = {0, 0, 0, 0};
    if (row < rows && k < in) v = *(const uint4 *)(x + row * ldx + k);
    *(uint4 *)(mine + lane * 8) = v;
    __syncwarp();
    if (chunk >= in / CHUNK) return;
    const uint16_t *from = mine + lane / 16 * CHUNK;
    int lo = code_of_register(bits, table, r, 0), hi = code_of_register(bits, table, r, 1);
    uint32_t out[4];
    for (int t = 0; t < 4; t++) out[t] = from[32 * t + lo] | (uint32_t)from[32 * t + hi] << 16;
    if (less) {
        const float unit = 1.0f / (float)(1 << power_of_register(bits, r));
        float plain = 0, shifted = 0;
        for (int t = 0; t < 4; t++) {
            const float a = from_bf16((uint16_t)out[t]), b = from_bf16((uint16_t)(out[t] >> 16));
            plain += a + b;
            shifted += a * unit + b * unit;
            out[t] = to_bf16(a * unit) | (uint32_t)to_bf16(b * unit) << 16;
        }
        for (int o = 8; o; o /= 2) {
            plain += __shfl_xor_sync(0xffffu << (lane & 16), plain, o);
            shifted += __shfl_xor_sync(0xffffu << (lane & 16), shifted, o);
        }
        if (r == 0) less[(int64_t)chunk * all_rows + row] = make_float2(-128 * shifted, -plain);
    }
    uint8_t *line = to + ((int64_t)(2 * chunk + r / 8) * all_rows + row) * (HALF * 2);
    *(uint4 *)(line + ((r % 8) ^ (row % 8)) * 16) = make_uint4(out[0], out[1], out[2], out[3]);
}

/* ---- how the work is shared ---- */
/* Parts of k: the least number of chunks one after another, those that beginning and adding up take counted; where k is
 * shared all blocks are resident. */
bl_cu_mid_plan bl_cu_mid_planned(const bl_cu_weight *w, int64_t rows, const bl_cu_device *d)
{
    mid_instance k = instance_of(w, rows);
    int64_t tiles = (w->out + k.outputs - 1) / k.outputs, chunks = w->in / CHUNK, best = INT64_MAX;
    bl_cu_mid_plan p = {1, 0, (uint64_t)(w->in * k.rows) * sizeof(uint16_t) + chunks * k.rows * sizeof(float2)};
    for (int64_t split = 1; split <= chunks; split++) {
        if (split > 1 && (split * tiles > d->sms || tiles > BL_CU_STREAM_BLOCKS)) break;
        int64_t cost = (tiles * split + d->sms - 1) / d->sms * ((chunks + split - 1) / split + 4);
        if (split > 1) cost += 4 + split / 4;
        if (cost >= best) continue;
        best = cost;
        p.split = (int)split;
    }
    if (p.split > 1) p.part_bytes = (uint64_t)(tiles * p.split * k.outputs * k.rows) * sizeof(float);
    return p;
}

void bl_cu_mid(bl_stream s, const bl_cu_weight *w, const bl_cu_mid_plan *p, const uint16_t *x, int64_t ldx,
               int64_t rows, void *space, void *y, bool f32, int64_t ldy, bool accumulate, const bl_cu_device *d)
{
    if (rows < 1) return;
    mid_instance k = instance_of(w, rows);
    int64_t warps = (w->in + PAIR - 1) / PAIR * k.rows;
    int group_bits = 31;
    for (int i = 5; i < 31 && w->group < w->in; i++)
        if (w->group == (int64_t)1 << i) group_bits = i;
    const bool table = w->kind == BL_CU_TABLE;
    uint8_t *sums = (uint8_t *)space + w->in * k.rows * (int64_t)sizeof(uint16_t);
    launch_early(arrange, dim3((unsigned)((warps + ARRANGE_WARPS - 1) / ARRANGE_WARPS)), ARRANGE_WARPS * WARP, 0, s, x,
                 ldx, (int)rows, k.rows, (int)w->in, w->bits, table, (uint8_t *)space,
                 shifts_codes(w->bits, table, k.rows) && group_bits >= CHUNK_BITS ? (float2 *)sums : (float2 *)NULL);
    mid_result to = {y, ldy, (int)rows, f32, accumulate, (float4 *)d->parts, d->arrived};
    k.launch(s, w, group_bits, (const uint8_t *)space, p->split, &to);
}
