/* bytes.cuh - products of four warps on Hopper in bytes: d [64, N] (+)= a [64, 32] b [N, 32]t, signed bytes in, exact
 * sums of 32 bits; a in registers, b in shared memory in lines of 128 bytes as wgmma_lines has them.
 *
 * Registers of a, of lane 4 g + t of each warp's 16 rows: bytes 4 t .. 4 t + 3 of row g, of row g + 8, then 16 bytes
 * further of both. Sums of d: as those of bf16.
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

/* add 0: d = a bt */
template <int N> struct bytes_of;
template <> struct bytes_of<32> {
    static __device__ __forceinline__ void run(int (&d)[16], const uint32_t a[4], uint64_t b, int add)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %21, 0; wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 "
                     "{" BL_N16 "}, {%16,%17,%18,%19}, %20, p;}"
                     : BL_8(0), BL_8(8)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
    }
};
template <> struct bytes_of<128> {
    static __device__ __forceinline__ void run(int (&d)[64], const uint32_t a[4], uint64_t b, int add)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %69, 0; wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
                     "{" BL_N64 "}, {%64,%65,%66,%67}, %68, p;}"
                     : BL_TO_64
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
    }
};
template <> struct bytes_of<256> {
    static __device__ __forceinline__ void run(int (&d)[128], const uint32_t a[4], uint64_t b, int add)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %133, 0; wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 "
                     "{" BL_N128 "}, {%128,%129,%130,%131}, %132, p;}"
                     : BL_TO_128
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
    }
};

/* d [64, N] (+)= a [64, 32] b [N, 32]t, both in shared memory in lines of 128 bytes: unsigned times signed bytes, and
 * e4m3 times e4m3 (f32 sums, of which some 14 bits are kept). */
template <bool FLOATS, int N> struct whole_of;
#define BL_WHOLE(N, SUMS, NAMES, TO, A, B, ADD)                                                                        \
    template <> struct whole_of<false, N> {                                                                            \
        static __device__ __forceinline__ void run(int (&d)[SUMS], uint64_t a, uint64_t b, int add)                    \
        {                                                                                                              \
            asm volatile("{.reg .pred p; setp.ne.b32 p, %" #ADD ", 0; wgmma.mma_async.sync.aligned.m64n" #N            \
                         "k32.s32.u8.s8 {" NAMES "}, %" #A ", %" #B ", p;}"                                            \
                         : TO                                                                                          \
                         : "l"(a), "l"(b), "r"(add));                                                                  \
        }                                                                                                              \
    };
BL_WHOLE(32, 16, BL_N16, BL_TO_16, 16, 17, 18)
BL_WHOLE(128, 64, BL_N64, BL_TO_64, 64, 65, 66)
BL_WHOLE(256, 128, BL_N128, BL_TO_128, 128, 129, 130)
#undef BL_WHOLE
#undef BL_8
#define BL_8(i)                                                                                                        \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),        \
        "+f"(d[i + 7])
#define BL_WHOLE(N, SUMS, NAMES, TO, A, B, ADD)                                                                        \
    template <> struct whole_of<true, N> {                                                                             \
        static __device__ __forceinline__ void run(float (&d)[SUMS], uint64_t a, uint64_t b, int add)                  \
        {                                                                                                              \
            asm volatile("{.reg .pred p; setp.ne.b32 p, %" #ADD ", 0; wgmma.mma_async.sync.aligned.m64n" #N            \
                         "k32.f32.e4m3.e4m3 {" NAMES "}, %" #A ", %" #B ", p, 1, 1;}"                                  \
                         : TO                                                                                          \
                         : "l"(a), "l"(b), "r"(add));                                                                  \
        }                                                                                                              \
    };
BL_WHOLE(32, 16, BL_N16, BL_TO_16, 16, 17, 18)
BL_WHOLE(128, 64, BL_N64, BL_TO_64, 64, 65, 66)
#undef BL_WHOLE
#undef BL_8
#undef BL_TO_16
#undef BL_TO_64
#undef BL_TO_128
#undef BL_N16
#undef BL_N64
#undef BL_N128
#endif
