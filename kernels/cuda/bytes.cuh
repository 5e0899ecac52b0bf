/* bytes.cuh - products of four warps on Hopper, d [64, N] (+)= a [64, K] b [N, K]t, K of 32 bytes: b in shared memory
 * in lines of 128 bytes as wgmma_lines has them, a too, or in registers, of lane 4 g + t of each warp's 16 rows: bytes
 * 4 t .. 4 t + 3 of row g, of row g + 8, then 16 bytes further of both.
 */
#ifndef BL_KERNELS_CUDA_BYTES_CUH
#define BL_KERNELS_CUDA_BYTES_CUH
#include "wgmma.cuh"

#define BL_8(i)                                                                                                        \
    "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]),        \
        "+r"(d[i + 7])
#define BL_TO_16  BL_8(0), BL_8(8)
#define BL_TO_64  BL_8(0), BL_8(8), BL_8(16), BL_8(24), BL_8(32), BL_8(40), BL_8(48), BL_8(56)
#define BL_TO_128 BL_TO_64, BL_8(64), BL_8(72), BL_8(80), BL_8(88), BL_8(96), BL_8(104), BL_8(112), BL_8(120)
#define BL_N16    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define BL_N64                                                                                                         \
    BL_N16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41," \
           "%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define BL_N128                                                                                                        \
    BL_N64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89," \
           "%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"      \
           "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

/* Signed bytes in registers times signed bytes, exact sums of 32 bits; add 0: d = a bt. */
template <int N> struct signed_of;
#define BL_SIGNED(N, SUMS, NAMES, TO, A, B, C, D, LINES, ADD)                                                          \
    template <> struct signed_of<N> {                                                                                  \
        static __device__ __forceinline__ void run(int (&d)[SUMS], const uint32_t a[4], uint64_t b, int add)           \
        {                                                                                                              \
            asm volatile("{.reg .pred p; setp.ne.b32 p, %" #ADD ", 0; wgmma.mma_async.sync.aligned.m64n" #N            \
                         "k32.s32.s8.s8 {" NAMES "}, {%" #A ",%" #B ",%" #C ",%" #D "}, %" #LINES ", p;}"              \
                         : TO                                                                                          \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                              \
        }                                                                                                              \
    };
BL_SIGNED(32, 16, BL_N16, BL_TO_16, 16, 17, 18, 19, 20, 21)
BL_SIGNED(128, 64, BL_N64, BL_TO_64, 64, 65, 66, 67, 68, 69)
BL_SIGNED(256, 128, BL_N128, BL_TO_128, 128, 129, 130, 131, 132, 133)
#undef BL_SIGNED

/* Both in shared memory: unsigned times signed bytes (exact), e4m3 times e4m3 (f32 sums, of which some 14 bits are
 * kept), bf16 times bf16. */
enum { OF_INTEGERS, OF_E4M3, OF_BF16 };
template <int OF, int N> struct whole_of;
#define BL_WHOLE(OF, TYPE, NAME, LAST, N, SUMS, NAMES, TO, A, B, ADD)                                                  \
    template <> struct whole_of<OF, N> {                                                                               \
        static __device__ __forceinline__ void run(TYPE (&d)[SUMS], uint64_t a, uint64_t b, int add)                   \
        {                                                                                                              \
            asm volatile("{.reg .pred p; setp.ne.b32 p, %" #ADD ", 0; wgmma.mma_async.sync.aligned.m64n" #N NAME       \
                         " {" NAMES "}, %" #A ", %" #B ", p" LAST ";}"                                                 \
                         : TO                                                                                          \
                         : "l"(a), "l"(b), "r"(add));                                                                  \
        }                                                                                                              \
    };
#define BL_WHOLE_32(...)  BL_WHOLE(__VA_ARGS__, 32, 16, BL_N16, BL_TO_16, 16, 17, 18)
#define BL_WHOLE_128(...) BL_WHOLE(__VA_ARGS__, 128, 64, BL_N64, BL_TO_64, 64, 65, 66)
#define BL_WHOLE_256(...) BL_WHOLE(__VA_ARGS__, 256, 128, BL_N128, BL_TO_128, 128, 129, 130)
BL_WHOLE_32(OF_INTEGERS, int, "k32.s32.u8.s8", "")
BL_WHOLE_128(OF_INTEGERS, int, "k32.s32.u8.s8", "")
BL_WHOLE_256(OF_INTEGERS, int, "k32.s32.u8.s8", "")
#undef BL_8
#define BL_8(i)                                                                                                        \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),        \
        "+f"(d[i + 7])
BL_WHOLE_32(OF_E4M3, float, "k32.f32.e4m3.e4m3", ", 1, 1")
BL_WHOLE_128(OF_E4M3, float, "k32.f32.e4m3.e4m3", ", 1, 1")
BL_WHOLE_32(OF_BF16, float, "k16.f32.bf16.bf16", ", 1, 1, 0, 0")
BL_WHOLE_128(OF_BF16, float, "k16.f32.bf16.bf16", ", 1, 1, 0, 0")
BL_WHOLE_256(OF_BF16, float, "k16.f32.bf16.bf16", ", 1, 1, 0, 0")
#undef BL_WHOLE
#undef BL_WHOLE_32
#undef BL_WHOLE_128
#undef BL_WHOLE_256
#undef BL_8
#undef BL_TO_16
#undef BL_TO_64
#undef BL_TO_128
#undef BL_N16
#undef BL_N64
#undef BL_N128
#endif
