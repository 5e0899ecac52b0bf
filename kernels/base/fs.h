/* fs.h - files: read-only maps, bounded reads, atomic replace, directories, locks.
 *
 *     bl_map m;
 *     BL_TRY(bl_map_open(path, &m, e));             // regular files only
 *     bl_hash id = bl_hash_bytes(m.data, m.size);
 *     BL_TRY(bl_map_check(&m, NULL, e));            // still the file that was opened?
 *     bl_map_close(&m);
 *
 *     bl_writer *w;                                 // appears by rename or not at all
 *     BL_TRY(bl_writer_open(path, &w, e));          // path.tmp.<pid>, same directory
 *     BL_TRY(bl_writer_add(w, data, n, e));
 *     BL_TRY(bl_writer_commit(w, e)); w = NULL;     // fsync, rename, fsync of the directory
 * out: bl_writer_drop(w);                           // removes the temporary file; NULL is fine
 *
 * A link to a file stays one, and the file that it leads to is replaced; devices and pipes are written through.
 * Paths are bytes and never go through a shell. No call here leaves a half-written final name.
 */
#ifndef BL_KERNELS_BASE_FS_H
#define BL_KERNELS_BASE_FS_H
#include "bl.h"

typedef struct bl_map {
    const uint8_t *data;
    uint64_t size;                 /* bytes */
    uint64_t dev, inode, mtime_ns; /* of the file when it was opened */
    int fd;
    char *path;
} bl_map;

/* A truncation under the map raises SIGBUS: a handler names the file and ends the process with exit 2 and no core. */
bl_status bl_map_open(const char *path, bl_map *out, bl_err *e);
/* The file that was opened, whatever its name is now: BL_E_FORMAT "changed while it was read" when its size or time
 * differ. *touched (may be NULL): only the time does, so that its content may be what it was. */
bl_status bl_map_check(const bl_map *m, bool *touched, bl_err *e);
void bl_map_accept(bl_map *m);                                  /* its time now is the one that counts */
void bl_map_drop(const bl_map *m, uint64_t offset, uint64_t n); /* these pages are not needed any more (madvise) */
void bl_map_want(const bl_map *m, uint64_t offset, uint64_t n); /* they will be soon */
void bl_map_close(bl_map *m);

/* Whole file as NUL-terminated bytes (*n without the NUL); refused above `max`. Path "-" reads standard input. */
bl_status bl_read_file(const char *path, uint64_t max, char **out, size_t *n, bl_err *e);

typedef struct bl_writer bl_writer;
bl_status bl_writer_open(const char *path, bl_writer **out, bl_err *e);
bl_status bl_writer_add(bl_writer *w, const void *p, size_t n, bl_err *e);
bl_status bl_writer_commit(bl_writer *w,
                           bl_err *e); /* frees w on success; on failure w is poisoned and must be dropped */
void bl_writer_drop(bl_writer *w);
bl_status bl_write_file(const char *path, const void *p, size_t n, bl_err *e); /* open, add, commit */

bl_status bl_append_open(const char *path, uint64_t keep, int *fd, bl_err *e); /* creates; truncates to `keep` bytes */
bl_status bl_append(int fd, const char *path, const void *p, size_t n, bl_err *e);
bl_status bl_append_sync(int fd, const char *path, bl_err *e); /* fdatasync */

/* Bytes that do not fit into memory, in a file without a name in the directory of `beside`: it is gone when it is
 * closed or the process ends, however that comes. What is read was written before. `most`: bytes it will hold. */
typedef struct bl_scratch bl_scratch;
bl_status bl_scratch_open(const char *beside, uint64_t most, bl_scratch **out, bl_err *e);
bl_status bl_scratch_put(bl_scratch *s, uint64_t at, const void *p, size_t n, bl_err *e);
bl_status bl_scratch_get(bl_scratch *s, uint64_t at, void *p, size_t n, bl_err *e);
void bl_scratch_close(bl_scratch *s); /* NULL is fine */

bl_status bl_make_dirs(const char *path, bl_err *e); /* mkdir -p */
bl_status bl_dir_usable(const char *path,
                        bl_err *e); /* made if absent; a file can be written, synced and removed there */
bl_status bl_dir_list(const char *path, char ***names, size_t *n,
                      bl_err *e); /* sorted, without . and ..; freed with bl_list_free */
void bl_list_free(char **names, size_t n);
bl_status bl_remove_tree(const char *path, bl_err *e);            /* absent is fine */
bl_status bl_rename(const char *from, const char *to, bl_err *e); /* rename + fsync of the directory */
bool bl_exists(const char *path);
bool bl_is_dir(const char *path);
bool bl_is_stream(const char *path); /* a device, a pipe, a socket: bl_writer writes it as it is, nothing is replaced */
char *bl_bare_dir(const char *dir, bl_err *e);               /* without slashes after it, bl_free */
char *bl_join(const char *dir, const char *name, bl_err *e); /* "dir/name", bl_free */
uint64_t bl_disk_free(const char *path);                     /* bytes */
/* Deletes *.tmp.<pid> in `dir` whose process is gone. */
void bl_clean_temps(const char *dir);
/* Deletes <path><mark>*.<pid> of processes that are gone, what was on the way to `path`: files as bl_clean_temps does,
 * directories where this host has no such process. mark: ".tmp.", ".stage". */
void bl_clean_beside(const char *path, const char *mark);

/* An advisory lock: flock on `path`, holding pid and host. BL_E_BUSY names the owner. A lock whose owner is dead on
 * this host is taken over at once (flock does); one left by another host on a file system without flock says how to
 * remove it. */
typedef struct bl_lock bl_lock;
bl_status bl_lock_take(const char *path, bl_lock **out, bl_err *e);
void bl_lock_free(bl_lock *l);

/* For tests: write-side call number n (open, write, fsync, rename; 1-based) fails with `err` (ENOSPC, EIO, …);
 * sticky: all after it too. n = 0 switches off. */
void bl_fs_fail_at(uint64_t n, int err, bool sticky);
uint64_t bl_fs_count(void);
/* For tests: a named point of what happens to `path` stops the process with SIGSTOP when the environment variable
 * BL_FAULT_POINT is its name, with ":N" the Nth time only (default 1), with "@TAIL" for paths that end so:
 * "before-rename:2@.h5". Does nothing otherwise. Points: before-rename, after-rename (of a file that is complete),
 * in-batch (before a block of a pass), after-batch (samples of a cell are computed), after-cell (it is
 * done and no other has begun); the path of these is its key. */
void bl_fault_point(const char *name, const char *path);
#endif
