/* cuda.h - what the C files of the CUDA backend share: its state, addresses, scratch, errors of the device.
 *
 * Activations are bf16, sums f32. Work goes to one stream, the one in use; a second stream is for uploads beside it:
 * products, attention and whatever else needs scratch belong to the first. Memory comes from the device's
 * stream-ordered pool, and every byte of it, scratch included, is counted and limited; only the value tables of formats
 * (a few KiB) are not.
 *
 * An error that spoils the context (an address out of range, a launch that died) is kept: every later call fails with
 * its sentence and BL_E_DEVICE, and the process has to end.
 */
#ifndef BL_KERNELS_CUDA_CUDA_H
#define BL_KERNELS_CUDA_CUDA_H
#include "kernels/backend_impl.h"
#include "kernels/hadamard.h"
#include "kernels/kernel.h"
#include "hopper.h"
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>

/* cuBLAS and cuSOLVER are opened when they are first needed: they are large, and not everybody has them. */
#define BL_CUBLAS(X)                                                                                                   \
    X(cublasCreate_v2)                                                                                                 \
    X(cublasDestroy_v2)                                                                                                \
    X(cublasSetStream_v2)                                                                                              \
    X(cublasSetWorkspace_v2)                                                                                           \
    X(cublasSetMathMode)                                                                                               \
    X(cublasGemmEx)                                                                                                    \
    X(cublasSgemm_v2)                                                                                                  \
    X(cublasDgemm_v2)                                                                                                  \
    X(cublasDtrmm_v2)                                                                                                  \
    X(cublasDtrsm_v2)                                                                                                  \
    X(cublasDdot_v2)
#define BL_CUSOLVER(X)                                                                                                 \
    X(cusolverDnCreate)                                                                                                \
    X(cusolverDnDestroy)                                                                                               \
    X(cusolverDnSetStream)                                                                                             \
    X(cusolverDnDpotrf_bufferSize)                                                                                     \
    X(cusolverDnDpotrf)
#define BL_ENTRY(f) __typeof__(&f) f;
typedef struct bl_cublas {
    void *lib;
    cublasHandle_t handle;
    BL_CUBLAS(BL_ENTRY)
} bl_cublas;
typedef struct bl_cusolver {
    void *lib;
    cusolverDnHandle_t handle;
    BL_CUSOLVER(BL_ENTRY)
} bl_cusolver;
#undef BL_ENTRY

/* Scratch by what it is for; it grows and stays. */
typedef enum bl_cuda_scratch {
    BL_SCRATCH_BLAS,   /* cuBLAS's own */
    BL_SCRATCH_SLAB,   /* decoded rows of a weight */
    BL_SCRATCH_ROWS,   /* rows of x in f32, transformed */
    BL_SCRATCH_ROWS2,  /* the same, the other of two */
    BL_SCRATCH_X,      /* rows of x in bf16, as the product reads them */
    BL_SCRATCH_LOW,    /* inner products of adapters */
    BL_SCRATCH_PARTS,  /* parts of attention */
    BL_SCRATCH_STREAM, /* parts of sums over k */
    BL_SCRATCH_MID,    /* rows of x in the order of decoding */
    BL_SCRATCH_EIGHT,  /* rows of x as codes of 8 bits */
    BL_SCRATCH_SUM,    /* a product with its adapter, before it is added to what is there */
    BL_SCRATCH_SOLVE,  /* of the solving ops */
    BL_SCRATCH_SOLVE2,
    BL_SCRATCHES
} bl_cuda_scratch;
enum { BL_CUDA_BLAS_BYTES = 32 << 20 };        /* workspace: what NVIDIA recommends for Hopper */
enum { BL_RING = 4, BL_RING_BYTES = 4 << 20 }; /* pinned pieces that uploads go through */

typedef struct bl_cuda {
    int device;
    struct cudaDeviceProp about;
    cudaMemPool_t pool;
    cudaStream_t first, now;
    bl_cublas blas;
    bl_cusolver solver;
    uint64_t held, peak; /* bytes */
    struct {
        void *p;
        uint64_t bytes;
    } scratch[BL_SCRATCHES];
    void **retired; /* scratch that graphs may still use */
    size_t n_retired, cap_retired;
    int n_graphs;
    bool capturing;
    void *ring;
    cudaEvent_t ring_free[BL_RING];
    unsigned ring_at;
    bl_cu_device stream;                   /* what bl_cu_stream works with */
    float *tables;                         /* value tables of the table formats, one after another */
    int8_t *factors[BL_HADAMARD_MOST + 1]; /* by order; NULL: not asked for yet */
    bl_backend *processor;                 /* NULL: not asked for yet */
    char broken[512];                      /* the sentence of an error that spoiled the context */
} bl_cuda;

static inline void *bl_cuda_at(const bl_tensor *t) { return t->buf ? (char *)t->buf->data + t->offset : NULL; }

/* BL_OK, or what the runtime says about `what`: BL_E_DEVMEM, BL_E_DEVICE, or BL_E_INTERNAL. */
bl_status bl_cuda_status(bl_backend *be, cudaError_t err, const char *what, bl_err *e);
bl_status bl_cuda_launched(bl_backend *be, const char *what, bl_err *e); /* after a launch */
bl_status bl_cuda_alloc(bl_backend *be, uint64_t bytes, void **out, bl_err *e);
void bl_cuda_release(bl_backend *be, void *p, uint64_t bytes);
bl_status bl_cuda_need(bl_backend *be, bl_cuda_scratch which, uint64_t bytes, void **out, bl_err *e);
bl_status bl_cuda_blas(bl_backend *be, bl_err *e);   /* opens cuBLAS and sets the stream in use */
bl_status bl_cuda_solver(bl_backend *be, bl_err *e); /* opens cuSOLVER likewise */
void bl_cuda_close_libraries(bl_cuda *c);
bl_status bl_cuda_blas_status(cublasStatus_t s, const char *what, bl_err *e);

/* What the kernels call a rule other than OWN, and a type of scales. */
int bl_cuda_rule(bl_range_rule rule);
int bl_cuda_scale_type(bl_dtype t);
/* The sum of n numbers of the device, in order, on the host; waits for them. */
bl_status bl_cuda_sum(bl_backend *be, const double *at, int64_t n, const char *what, double *sum, bl_err *e);

/* A weight as the kernels read it. */
bl_status bl_cuda_weight(const bl_backend *be, const bl_weight *w, bl_cu_weight *out, bl_err *e);
const float *bl_cuda_table(const bl_cuda *c, const bl_format *f); /* values of a table format, on the device */
bl_status bl_cuda_tables(bl_backend *be, bl_err *e);              /* makes them */
/* The factor of a Hadamard matrix, on the device; it stays there, so that recorded ops find it. */
bl_status bl_cuda_factor(bl_backend *be, int64_t order, const int8_t **out, bl_err *e);

/* dw [out, in] += alpha dyt x, f32, of bf16 dy [rows, out] and x [rows, in]; anew: =, f32 or bf16. */
bl_status bl_cuda_outer(bl_backend *be, const uint16_t *x, int64_t ldx, const uint16_t *dy, int64_t ldy, int64_t rows,
                        int64_t in, int64_t out, double alpha, void *dw, bool f32, int64_t ldw, bool anew, bl_err *e);
/* y (+)= x Wt for bf16 x [rows, in] and bf16 w [out, in]; turned: y (+)= x W for x [rows, out]. */
bl_status bl_cuda_gemm(bl_backend *be, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, bool turned,
                       int64_t rows, int64_t out, int64_t in, void *y, bool f32, int64_t ldy, bool accumulate,
                       bl_err *e);

enum { BL_CUDA_INPUT_BYTES = 256 << 20 }; /* rows in f32 that are there at once, where some at a time will do */
int64_t bl_cuda_widest(const bl_tensor *x, const bl_transform *t, int n_t); /* of x and what each makes of it */
/* Transforms of rows in f32, from one of two places [rows, wide] to the other and back; *out: where they end. */
bl_status bl_cuda_turn(bl_backend *be, float *from, float *to, int64_t wide, int64_t rows, const bl_transform *t,
                       int n_t, float **out, bl_err *e);
/* T x of rows x in bf16, f32 [rows, widest], in one of the two scratch places. */
bl_status bl_cuda_transformed(bl_backend *be, const bl_tensor *x, const bl_transform *t, int n_t, float **out,
                              bl_err *e);

/* Where T is one scale of activations, so is the way back: launches y (+)= x by it. false: it is more, and nothing is
 * done. */
bool bl_cuda_scales_alone(bl_backend *be, const bl_transform *t, int n_t, const bl_tensor *x, const bl_tensor *y,
                          bool accumulate);

/* ---- the ops, by file ---- */
/* backend.c */
void bl_cuda_device_info(const bl_backend *, bl_device_info *);
void *bl_cuda_native_stream(const bl_backend *);
bl_status bl_cuda_flush(bl_backend *, bl_err *);
/* memory.c */
bl_status bl_cuda_buffer_new(bl_backend *, uint64_t, bl_buffer **, bl_err *);
void bl_cuda_buffer_free(bl_buffer *);
bl_status bl_cuda_upload(bl_backend *, const bl_tensor *, const void *, bl_err *);
bl_status bl_cuda_download(bl_backend *, const bl_tensor *, void *, bl_err *);
bl_status bl_cuda_host_new(bl_backend *, uint64_t bytes, void **out, bl_err *);
void bl_cuda_host_free(bl_backend *, void *);
uint64_t bl_cuda_train_scratch(const bl_backend *, const bl_train_scratch_args *);
bl_status bl_cuda_fill(bl_backend *, const bl_tensor *, double, bl_err *);
bl_status bl_cuda_sync(bl_backend *, bl_err *);
void bl_cuda_memory(const bl_backend *, uint64_t *, uint64_t *);
/* order.c */
bl_status bl_cuda_event_new(bl_backend *, bl_event **, bl_err *);
void bl_cuda_event_free(bl_event *);
bl_status bl_cuda_event_record(bl_backend *, bl_event *, bl_err *);
bl_status bl_cuda_event_seconds(const bl_event *, const bl_event *, double *, bl_err *);
bl_status bl_cuda_event_wait(bl_backend *, const bl_event *, bl_err *);
bl_status bl_cuda_stream_new(bl_backend *, bl_device_stream **, bl_err *);
void bl_cuda_stream_free(bl_device_stream *);
bl_status bl_cuda_stream_use(bl_backend *, bl_device_stream *, bl_err *);
bl_status bl_cuda_graph_begin(bl_backend *, bl_err *);
bl_status bl_cuda_graph_end(bl_backend *, bl_graph **, bl_err *);
bl_status bl_cuda_graph_replay(bl_backend *, const bl_graph *, bl_err *);
void bl_cuda_graph_free(bl_graph *);
/* ops.c */
extern const bl_ops bl_ops_cuda;
/* linear.c */
bl_status bl_cuda_linear(bl_backend *, const bl_linear_args *, bl_err *);
bool bl_cuda_integer(const bl_backend *, const bl_linear_args *);
bool bl_cuda_joins(const bl_backend *, const bl_linear_args *);
bool bl_cuda_prepares(const bl_backend *be, const bl_linear_args *a);
/* transform.c */
bl_status bl_cuda_transform(bl_backend *, const bl_transform_args *, bl_err *);
/* weight.c */
bl_status bl_cuda_prepare(bl_backend *, bl_weight *, bl_err *);
bl_status bl_cuda_embed(bl_backend *, const bl_embed_args *, bl_err *);
bl_status bl_cuda_pack(bl_backend *, const bl_pack_args *, bl_err *);
bl_status bl_cuda_unpack(bl_backend *, const bl_unpack_args *, bl_err *);
/* solve.c */
bl_status bl_cuda_permute(bl_backend *, const bl_permute_args *, bl_err *);
bl_status bl_cuda_diagonal(bl_backend *, const bl_diagonal_args *, bl_err *);
bl_status bl_cuda_hessian(bl_backend *, const bl_hessian_args *, bl_err *);
bl_status bl_cuda_cholesky_inverse(bl_backend *, const bl_cholesky_inverse_args *, bl_err *);
bl_status bl_cuda_mismatch(bl_backend *, const bl_mismatch_args *, bl_err *);
bl_status bl_cuda_mismatch_fold(bl_backend *, const bl_mismatch_fold_args *, bl_err *);
bl_status bl_cuda_quad_form(bl_backend *, const bl_quad_form_args *, bl_err *);
bl_status bl_cuda_hadamard(bl_backend *, const bl_hadamard_args *, bl_err *);
bl_status bl_cuda_gptq_sweep(bl_backend *, const bl_gptq_sweep_args *, bl_err *);
bl_status bl_cuda_scale(bl_backend *, const bl_scale_args *, bl_err *);
bl_status bl_cuda_sq_error(bl_backend *, const bl_sq_error_args *, bl_err *);
bl_status bl_cuda_clip_search(bl_backend *, const bl_clip_search_args *, bl_err *);
/* search.c */
bl_status bl_cuda_hqq(bl_backend *, const bl_hqq_args *, bl_err *);
bl_status bl_cuda_greedy(bl_backend *, const bl_greedy_args *, bl_err *);
bl_status bl_cuda_range_search(bl_backend *, const bl_range_search_args *, bl_err *);
/* host.c */
bl_status bl_cuda_processor(bl_backend *, bl_backend **out, bl_err *); /* the CPU beside the device; it stays its own */
bl_status bl_cuda_each(bl_backend *, const bl_each_args *, bl_err *);
bl_status bl_cuda_pack_there(bl_backend *, const bl_pack_args *, bl_err *); /* on the processor */
/* backward.c */
bl_status bl_cuda_weight_grad(bl_backend *, const bl_weight_grad_args *, bl_err *);
bl_status bl_cuda_rmsnorm_grad(bl_backend *, const bl_rmsnorm_grad_args *, bl_err *);
bl_status bl_cuda_attention_grad(bl_backend *, const bl_attention_grad_args *, bl_err *);
bl_status bl_cuda_transform_grad(bl_backend *, const bl_transform_grad_args *, bl_err *);
bl_status bl_cuda_swiglu_grad(bl_backend *, const bl_swiglu_grad_args *, bl_err *);
bl_status bl_cuda_embed_grad(bl_backend *, const bl_embed_grad_args *, bl_err *);
bl_status bl_cuda_loss_grad(bl_backend *, const bl_loss_grad_args *, bl_err *);
/* train.c */
bl_status bl_cuda_dropout(bl_backend *, const bl_dropout_args *, bl_err *);
bl_status bl_cuda_round_random(bl_backend *, const bl_round_random_args *, bl_err *);
bl_status bl_cuda_adamw(bl_backend *, const bl_adamw_args *, bl_err *);
bl_status bl_cuda_adamw_all(bl_backend *, const bl_adamw_all_args *, bl_err *);
bl_status bl_cuda_sq_sums(bl_backend *, const bl_sq_sums_args *, bl_err *);
bl_status bl_cuda_adamw8(bl_backend *, const bl_adamw8_args *, bl_err *);
bl_status bl_cuda_grid(bl_backend *, const bl_grid_args *, bl_err *);
bl_status bl_cuda_grid_grad(bl_backend *, const bl_grid_grad_args *, bl_err *);
bl_status bl_cuda_merged_grid(bl_backend *, const bl_merged_grid_args *, bl_err *);
bl_status bl_cuda_split_pass(bl_backend *, const bl_split_pass_args *, bl_err *);
bl_status bl_cuda_step_search(bl_backend *, const bl_step_search_args *, bl_err *);
/* sign.c */
bl_status bl_cuda_sign_round(bl_backend *, const bl_sign_round_args *, bl_err *);
bl_status bl_cuda_sign_round_grad(bl_backend *, const bl_sign_round_grad_args *, bl_err *);
bl_status bl_cuda_sign_step(bl_backend *, const bl_sign_step_args *, bl_err *);
/* round.c */
bl_status bl_cuda_scale_grad(bl_backend *, const bl_scale_grad_args *, bl_err *);
bl_status bl_cuda_differ(bl_backend *, const bl_differ_args *, bl_err *);
bl_status bl_cuda_act_round(bl_backend *, const bl_act_round_args *, bl_err *);
bl_status bl_cuda_act_round_grad(bl_backend *, const bl_act_round_grad_args *, bl_err *);
/* adapter.c */
bl_status bl_cuda_dora(bl_backend *, const bl_dora_args *, bl_err *);
bl_status bl_cuda_dora_grad(bl_backend *, const bl_dora_grad_args *, bl_err *);
bl_status bl_cuda_pool(bl_backend *, const bl_pool_args *, bl_err *);
bl_status bl_cuda_pool_grad(bl_backend *, const bl_pool_grad_args *, bl_err *);
bl_status bl_cuda_band(bl_backend *, const bl_band_args *, bl_err *);
bl_status bl_cuda_band_grad(bl_backend *, const bl_band_grad_args *, bl_err *);
bl_status bl_cuda_lowrank_grad(bl_backend *, const bl_lowrank_grad_args *, bl_err *);
#endif
