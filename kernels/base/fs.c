/* fs.c - reading: maps that name their file when it is cut short, bounded reads; directories and names. */
#include "fs.h"
#include "base_impl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bl_status bl_fail_read(bl_err *e, const char *path, const char *doing, int err)
{
    bl_status st = err == ENOENT || err == ENOTDIR ? BL_E_MISSING : err == ENOMEM ? BL_E_NOMEM : BL_E_IO;
    return bl_fail(e, st, "%s: cannot %s: %s", path, doing, strerror(err));
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)                    ? "a directory"
           : S_ISFIFO(mode)                 ? "a named pipe"
           : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
           : S_ISSOCK(mode)                 ? "a socket"
                                            : "something else";
}

/* Opens a regular file for reading; a pipe does not block and a device is not touched further. */
static bl_status open_regular(const char *path, int *fd, struct stat *s, bl_err *e)
{
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f < 0 && errno == ENXIO)
        return bl_fail(e, BL_E_FORMAT, "%s: is a socket or device, expected a regular file", path);
    if (f < 0) return bl_fail_read(e, path, "open", errno);
    bl_status st = BL_OK;
    if (fstat(f, s) != 0) st = bl_fail_read(e, path, "look at", errno);
    else if (!S_ISREG(s->st_mode))
        st = bl_fail(e, BL_E_FORMAT, "%s: is %s, expected a regular file", path, kind_of(s->st_mode));
    if (st == BL_OK) *fd = f;
    else close(f);
    return st;
}

static uint64_t mtime_ns(const struct stat *s)
{
    return (uint64_t)s->st_mtim.tv_sec * UINT64_C(1000000000) + (uint64_t)s->st_mtim.tv_nsec;
}

/* ---- maps --------------------------------------------------------------------------------------- */
/* What the SIGBUS handler may look at: the address is set last and cleared first. */
enum { N_MAPS = 4096 };
typedef struct seen_map {
    _Atomic uintptr_t from;
    _Atomic uintptr_t to;
    const char *_Atomic path;
} seen_map;
static seen_map maps[N_MAPS];
static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *s, size_t n)
{
    while (n > 0) {
        ssize_t k = write(STDERR_FILENO, s, n);
        if (k <= 0) return;
        s += k;
        n -= (size_t)k;
    }
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (size_t i = 0; i < N_MAPS; i++) {
        uintptr_t from = atomic_load(&maps[i].from);
        if (from == 0 || at < from || at >= atomic_load(&maps[i].to)) continue;
        static const char head[] = "bitladder: ",
                          tail[] = ": the file was cut short or could not be read while it was in use\n";
        char name[1024];
        size_t n = 0;
        for (const char *p = atomic_load(&maps[i].path); p && *p && n < sizeof name; p++)
            name[n++] = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
        say(head, sizeof head - 1);
        say(name, n);
        say(tail, sizeof tail - 1);
        _exit(2);
    }
    signal(sig, SIG_DFL); /* not one of our files: the fault repeats and ends the process */
}

/* At every map, because others may have set handlers since. */
static void catch_bus_errors(void)
{
    struct sigaction a;
    if (sigaction(SIGBUS, NULL, &a) == 0 && (a.sa_flags & SA_SIGINFO) && a.sa_sigaction == on_bus_error) return;
    a = (struct sigaction){.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    sigaction(SIGBUS, &a, NULL);
}

static void remember(const bl_map *m)
{
    pthread_mutex_lock(&maps_lock);
    for (size_t i = 0; i < N_MAPS; i++) {
        if (atomic_load(&maps[i].from) != 0) continue;
        atomic_store(&maps[i].path, m->path);
        atomic_store(&maps[i].to, (uintptr_t)m->data + m->size);
        atomic_store(&maps[i].from, (uintptr_t)m->data);
        break;
    }
    pthread_mutex_unlock(&maps_lock);
}

static void forget(const bl_map *m)
{
    pthread_mutex_lock(&maps_lock);
    for (size_t i = 0; i < N_MAPS; i++)
        if (atomic_load(&maps[i].from) == (uintptr_t)m->data) {
            atomic_store(&maps[i].from, 0);
            atomic_store(&maps[i].path, NULL);
            break;
        }
    pthread_mutex_unlock(&maps_lock);
}

bl_status bl_map_open(const char *path, bl_map *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_map m = {.fd = -1};
    struct stat s;

    catch_bus_errors();
    BL_TRY(open_regular(path, &m.fd, &s, e));
    if (!(m.path = bl_strdup(path, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    m.size = (uint64_t)s.st_size;
    m.dev = (uint64_t)s.st_dev;
    m.inode = (uint64_t)s.st_ino;
    m.mtime_ns = mtime_ns(&s);
    m.data = (const uint8_t *)""; /* nothing to map in an empty file */
    if (m.size > 0) {
        void *p = mmap(NULL, m.size, PROT_READ, MAP_PRIVATE, m.fd, 0);
        if (p == MAP_FAILED) {
            st = bl_fail_read(e, path, "map", errno);
            goto out;
        }
        m.data = p;
        remember(&m);
    }
    *out = m;
    return BL_OK;
out:
    if (m.fd >= 0) close(m.fd);
    bl_free(m.path);
    return st;
}

bl_status bl_map_check(const bl_map *m, bool *touched, bl_err *e)
{
    struct stat now;
    if (touched) *touched = false;
    if (fstat(m->fd, &now) != 0) return bl_fail_read(e, m->path, "look at", errno);
    if ((uint64_t)now.st_size != m->size)
        return bl_fail(e, BL_E_FORMAT, "%s: changed while it was read: %llu bytes, expected %llu", m->path,
                       (unsigned long long)now.st_size, (unsigned long long)m->size);
    if (mtime_ns(&now) == m->mtime_ns) return BL_OK;
    if (touched) *touched = true;
    return bl_fail(e, BL_E_FORMAT, "%s: changed while it was read: it was written again", m->path);
}

void bl_map_accept(bl_map *m)
{
    struct stat now;
    if (fstat(m->fd, &now) == 0) m->mtime_ns = mtime_ns(&now);
}

/* The pages inside [offset, offset + n), or with `around` those that touch it. */
static void advise(const bl_map *m, uint64_t offset, uint64_t n, bool around, int advice)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (m->size == 0 || offset >= m->size) return;
    uint64_t end = n > m->size - offset ? m->size : offset + n;
    if (around) offset = offset / page * page;
    else {
        offset = (offset + page - 1) / page * page;
        if (end < m->size) end = end / page * page;
    }
    if (offset < end) (void)madvise((void *)(uintptr_t)(m->data + offset), end - offset, advice);
}

void bl_map_drop(const bl_map *m, uint64_t offset, uint64_t n) { advise(m, offset, n, false, MADV_DONTNEED); }
void bl_map_want(const bl_map *m, uint64_t offset, uint64_t n) { advise(m, offset, n, true, MADV_WILLNEED); }

void bl_map_close(bl_map *m)
{
    if (!m->path) return; /* never opened, or closed before */
    if (m->size > 0) {
        forget(m);
        munmap((void *)(uintptr_t)m->data, m->size);
    }
    close(m->fd);
    bl_free(m->path);
    *m = (bl_map){.fd = -1};
}

/* ---- whole files -------------------------------------------------------------------------------- */
bl_status bl_read_file(const char *path, uint64_t max, char **out, size_t *n, bl_err *e)
{
    bl_status st = BL_OK;
    bool from_input = strcmp(path, "-") == 0;
    const char *name = from_input ? "standard input" : path;
    struct stat s = {0};
    int fd = STDIN_FILENO;
    char *text = NULL;
    size_t cap = 0, used = 0;

    if (!from_input) BL_TRY(open_regular(path, &fd, &s, e));
    if ((uint64_t)s.st_size > max) {
        st = bl_fail(e, BL_E_FORMAT, "%s: %llu bytes, expected at most %llu", name, (unsigned long long)s.st_size,
                     (unsigned long long)max);
        goto out;
    }
    BL_TRY(bl_grow(&text, &cap, from_input ? 65536 : (size_t)s.st_size + 2, 1, e));
    for (;;) {
        if (used + 1 >= cap) BL_TRY(bl_grow(&text, &cap, cap + 1, 1, e));
        ssize_t k = read(fd, text + used, BL_MIN(cap - used - 1, (size_t)1 << 30));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            st = bl_fail_read(e, name, "read", errno);
            goto out;
        }
        if (k == 0) break;
        used += (size_t)k;
        if (used > max) {
            st = bl_fail(e, BL_E_FORMAT, "%s: more than %llu bytes", name, (unsigned long long)max);
            goto out;
        }
    }
    text[used] = 0;
    *out = text;
    *n = used;
    text = NULL;
out:
    bl_free(text);
    if (!from_input && fd > STDIN_FILENO) close(fd);
    return st;
}

/* ---- directories and names ---------------------------------------------------------------------- */
bool bl_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0;
}

bool bl_is_dir(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

bool bl_is_stream(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

char *bl_join(const char *dir, const char *name, bl_err *e)
{
    size_t n = strlen(dir);
    return bl_format_text(e, "%s%s%s", dir, n == 0 || dir[n - 1] == '/' ? "" : "/", name);
}

uint64_t bl_disk_free(const char *path)
{
    struct statvfs v;
    return statvfs(path, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void bl_list_free(char **names, size_t n)
{
    for (size_t i = 0; names && i < n; i++) bl_free(names[i]);
    bl_free(names);
}

bl_status bl_dir_list(const char *path, char ***names, size_t *n, bl_err *e)
{
    bl_status st = BL_OK;
    char **list = NULL;
    size_t used = 0, cap = 0;
    DIR *d = opendir(path);
    if (!d) return bl_fail_read(e, path, "list", errno);

    BL_TRY(bl_grow(&list, &cap, 1, sizeof *list, e));
    for (;;) {
        errno = 0;
        struct dirent *de = readdir(d);
        if (!de && errno) {
            st = bl_fail_read(e, path, "list", errno);
            goto out;
        }
        if (!de) break;
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) continue;
        BL_TRY(bl_grow(&list, &cap, used + 1, sizeof *list, e));
        if (!(list[used] = bl_strdup(de->d_name, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        used++;
    }
    qsort(list, used, sizeof *list, by_bytes);
    *names = list;
    *n = used;
    list = NULL;
out:
    closedir(d);
    bl_list_free(list, used);
    return st;
}
