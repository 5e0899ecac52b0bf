/* utf8.c - is this UTF-8? */
#include "harness/checkpoint/checkpoint_impl.h"

bool bl_utf8_valid(const uint8_t *p, uint64_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    for (uint64_t i = 0; i < n;) {
        int k = p[i] < 0x80 ? 1 : p[i] >> 5 == 6 ? 2 : p[i] >> 4 == 14 ? 3 : p[i] >> 3 == 30 ? 4 : 0;
        if (k == 1) {
            i++;
            continue;
        }
        if (k == 0 || (uint64_t)k > n - i) return false;
        uint32_t c = p[i] & (0x7fu >> k);
        for (int j = 1; j < k; j++) {
            if (p[i + (uint64_t)j] >> 6 != 2) return false;
            c = c << 6 | (p[i + (uint64_t)j] & 63);
        }
        if (c < least[k] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return false;
        i += (uint64_t)k;
    }
    return true;
}
