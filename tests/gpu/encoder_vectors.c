/* A text encoder on the device: near what the processor makes, and with `deterministic` the same bits in any company.
 */
#include "gpu.h"
#include "harness/encoder/encoder.h"

enum { N = 40, DIM = 24 };
static const char tiny[] = BL_SOURCE_DIR "/tests/data/encoder";

/* Texts of 0 to 3 N words, of which the long ones are cut. */
static void texts(char (*own)[8 * N], const char **text)
{
    static const char *const words[] = {"cat", "mat ", "the ", "sat, ", "On ", "dog. ", "xyz"};
    bl_rng r = bl_rng_at(1, bl_rng_key("gpu_encoder", 0), 0);
    for (int i = 0; i < N; i++) {
        text[i] = own[i];
        own[i][0] = 0;
        for (int k = 0; k < i; k++) strcat(own[i], words[bl_rng_u32(&r) % BL_COUNT(words)]);
    }
}

static void vectors_are_near_those_of_the_processor(void **state)
{
    static char own[N][8 * N];
    static float want[N * DIM], got[N * DIM], alone[DIM];
    const char *text[N];
    (void)state;
    BL_NEEDS_GPU;
    texts(own, text);
    bl_backend *fixed;
    bl_encoder *x;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cuda", .deterministic = true}, &fixed, &e));
    bl_backend *const on[] = {cpu, gpu, fixed};
    for (int b = 0; b < 3; b++) {
        assert_ok(bl_encoder_open(tiny, on[b], &x, &e));
        assert_int_equal(bl_encoder_dim(x), DIM);
        assert_ok(bl_encoder_embed(x, text, N, b ? got : want, &e));
        for (int i = 0; b && i < N; i++) {
            double d = distance(want + i * DIM, got + i * DIM, DIM);
            if (!(d <= 1e-3)) fail_msg("text %d: error %g", i, d);
        }
        for (int i = 0; b == 2 && i < N; i += 7) {
            assert_ok(bl_encoder_embed(x, text + i, 1, alone, &e));
            assert_memory_equal(alone, got + i * DIM, sizeof alone);
        }
        bl_encoder_close(x);
    }
    bl_backend_close(fixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors_are_near_those_of_the_processor)};
    return gpu_run_tests("encoder_vectors", tests);
}
