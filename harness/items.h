/* items.h - what was asked in an item of a recorded cell, and what would have been right: read from the data again.
 *
 *     bl_items *items;
 *     BL_TRY(bl_items_open(program, &cell, &dirs, &items, e));
 *     BL_TRY(bl_items_get(items, cell.sample[0].id, arena, &item, e));
 *     printf("%s\n", item.question);
 *     bl_items_close(items);
 */
#ifndef BL_HARNESS_ITEMS_H
#define BL_HARNESS_ITEMS_H
#include "program.h"
#include "results/cell.h"

typedef struct bl_items bl_items;
typedef struct bl_item {
    const char
        *question; /* the context of all choices, or the data in the prompt of a generation; "": choices have it */
    const char *const *choice;
    int n_choices;     /* 0: the model writes its own answer */
    const char *alone; /* what is asked, without a passage or worked examples in front, where the task says so; NULL */
    const char *gold;  /* the right answer of a task without choices; NULL: not said */
} bl_item;

/* The data of the cell's task. BL_E_MISSING when it is not there or the task is not known in that version, BL_E_FORMAT
 * when it is other data than the cell was made from. */
bl_status bl_items_open(const bl_program *p, const bl_cell *c, const bl_data_dirs *dirs, bl_items **out, bl_err *e);
/* Item `id`, its first step; BL_E_MISSING for a window of a text. Texts are in the arena. */
bl_status bl_items_get(bl_items *items, int64_t id, bl_arena *a, bl_item *out, bl_err *e);
void bl_items_close(bl_items *items); /* NULL is fine */
#endif
