/* journal.h - the samples of one running cell, on disk before the cell is finished.
 *
 * A journal is append-only text, one checked line per sample (crc32 first, then JSON). Reading stops at the first line
 * that does not check, the file is cut there, and work continues with the next item: a torn write costs one sample and
 * nothing else. The first line names cell key and cell hash; a journal of another hash is renamed `.stale`, not
 * deleted.
 *
 *     bl_journal *j;
 *     BL_TRY(bl_journal_open(path, key, hash, &j, e));              // existing lines are replayed
 *     if (!bl_journal_has(j, id)) BL_TRY(bl_journal_add(j, &sample, e));
 *     BL_TRY(bl_journal_sync(j, e));                                // lines before this call survive power loss
 *     bl_journal_close(j);
 */
#ifndef BL_RESULTS_JOURNAL_H
#define BL_RESULTS_JOURNAL_H
#include "kernels/base/hash.h"
#include "sample.h"

typedef struct bl_journal bl_journal;
bl_status bl_journal_open(const char *path, const char *cell_key, bl_hash cell_hash, bl_journal **out, bl_err *e);
bool bl_journal_has(const bl_journal *j, int64_t sample_id);
int64_t bl_journal_count(const bl_journal *j);
/* Samples sorted by id; lent until close. */
const bl_sample *bl_journal_samples(bl_journal *j, int64_t *n);
/* Kept in memory and written. A full disk is not an error here: lines wait in memory up to a bound and are tried again
 * at the next add or sync (F5). */
bl_status bl_journal_add(bl_journal *j, const bl_sample *s, bl_err *e);
bl_status bl_journal_sync(bl_journal *j, bl_err *e);
void bl_journal_close(bl_journal *j); /* NULL is fine; the file stays */
/* For fuzzing: how many good lines `text` has. */
int64_t bl_journal_parse(const char *text, size_t n);
#endif
