/* shard.c - reads shards: first the hash of all bytes, then HDF5 over the same bytes where they are.
 *
 * HDF5 is no parser for hostile files, so it sees only bytes whose hash is the one we wrote. What is asked for is still
 * checked for kind and size, because a shard of another program version may lack it or have it in another form.
 */
#include "shard_impl.h"
#include "kernels/base/fs.h"

#include <stdlib.h>
#include <string.h>

typedef struct lent {
    const uint8_t *p;
    size_t n;
} lent;
struct bl_shard {
    hid_t file, text_type;
    lent image; /* lives as long as the file */
    char *name; /* for sentences */
    bl_map map;
    bool mapped;
    hid_t parent; /* the object that was asked last, kept open: questions come in groups */
    char *parent_path;
};

/* ---- opening ------------------------------------------------------------------------------------ */
/* HDF5 would copy the bytes twice; told that "allocating" gives the bytes themselves and copying and freeing is
 * nothing, it reads them where they are. (H5LTopen_file_image does this too, and loses 72 bytes each time.) */
static void *lend(size_t size, H5FD_file_image_op_t op, void *data)
{
    const lent *l = data;
    (void)op;
    return size == l->n ? (void *)(uintptr_t)l->p : NULL; /* opened for reading: HDF5 does not write to it */
}

static void *no_copy(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *data)
{
    (void)size;
    (void)op;
    (void)data;
    return to == from ? to : NULL;
}

static void *no_growth(void *p, size_t size, H5FD_file_image_op_t op, void *data)
{
    (void)p;
    (void)size;
    (void)op;
    (void)data;
    return NULL;
}
static herr_t no_free(void *p, H5FD_file_image_op_t op, void *data)
{
    (void)p;
    (void)op;
    (void)data;
    return 0;
}
static void *same_data(void *data) { return data; }
static herr_t keep_data(void *data)
{
    (void)data;
    return 0;
}

static hid_t open_lent(lent *l)
{
    static unsigned long long n_images;
    H5FD_file_image_callbacks_t how = {lend, no_copy, no_growth, no_free, same_data, keep_data, l};
    char name[48];
    hid_t file = H5I_INVALID_HID, fapl = H5Pcreate(H5P_FILE_ACCESS);

    snprintf(name, sizeof name, "bitladder-shard-%llu", __atomic_add_fetch(&n_images, 1, __ATOMIC_RELAXED));
    if (fapl >= 0 && H5Pset_fapl_core(fapl, 64 * 1024, false) >= 0 && H5Pset_file_image_callbacks(fapl, &how) >= 0 &&
        H5Pset_file_image(fapl, (void *)(uintptr_t)l->p, l->n) >= 0)
        file = H5Fopen(name, H5F_ACC_RDONLY, fapl);
    if (fapl >= 0) H5Pclose(fapl);
    return file;
}

static bl_status open_image(const uint8_t *p, size_t n, const char *name, bl_shard **out, bl_err *e)
{
    bl_shard *s = bl_new(1, sizeof *s, e);
    bl_status st = BL_OK;

    if (!s) return BL_E_NOMEM;
    s->file = s->text_type = s->parent = H5I_INVALID_HID;
    if (!(s->name = bl_strdup(name, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_h5_init();
    s->image = (lent){p, n};
    s->file = open_lent(&s->image);
    if (s->file < 0 || (s->text_type = bl_h5_text_type()) < 0) {
        st = bl_h5_fail(e, BL_E_CORRUPT, "%s: the hash is right, but HDF5 cannot open it", name);
        goto out;
    }
    *out = s;
    s = NULL;
out:
    bl_shard_close(s);
    return st;
}

bl_status bl_shard_parse(const uint8_t *p, size_t n, const char *name, bl_shard **out, bl_err *e)
{
    bl_shard_head h;
    bl_status st = bl_shard_verify(p, n, name, &h, e);
    return st != BL_OK ? st : open_image(p + BL_SHARD_HEAD, n - BL_SHARD_HEAD, name, out, e);
}

bl_status bl_shard_open(const char *path, bl_shard **out, bl_err *e)
{
    bl_map m;
    bl_status st = bl_map_open(path, &m, e);

    if (st != BL_OK) return st;
    if ((st = bl_shard_parse(m.data, m.size, path, out, e)) != BL_OK) {
        bl_map_close(&m);
        return st;
    }
    (*out)->map = m;
    (*out)->mapped = true;
    return BL_OK;
}

void bl_shard_close(bl_shard *s)
{
    if (!s) return;
    if (s->parent >= 0) H5Oclose(s->parent);
    if (s->text_type >= 0) H5Tclose(s->text_type);
    if (s->file >= 0) H5Fclose(s->file);
    if (s->mapped) bl_map_close(&s->map);
    bl_free(s->parent_path);
    bl_free(s->name);
    bl_free(s);
}

bl_status bl_shard_check(const char *path, const char *cell_key, bl_hash cell_hash, bl_err *e)
{
    bl_map m;
    bl_shard_head h;
    char *key = NULL, found[33], wanted[33];
    bl_status st = bl_map_open(path, &m, e);

    if (st != BL_OK) return st;
    BL_TRY(bl_shard_verify(m.data, m.size, path, &h, e));
    if (!(key = bl_valid_text(cell_key, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_hash_hex(h.cell, found);
    bl_hash_hex(cell_hash, wanted);
    if (!bl_hash_equal(h.cell, cell_hash) || !bl_hash_equal(h.key, bl_hash_bytes(key, strlen(key))))
        st = bl_fail(e, BL_E_CORRUPT, "%s: shard of cell '%.400s' with hash %s, expected '%s' with %s", path,
                     (const char *)m.data + 72, found, key, wanted);
out:
    bl_free(key);
    bl_map_close(&m);
    return st;
}

/* ---- finding ------------------------------------------------------------------------------------ */
/* The object that `where` is in (kept open in s) and the name after it. The cache is not part of what a reader can
 * see, hence const. */
static bl_status find_parent(const bl_shard *shard, const char *where, hid_t *out, const char **name, bl_err *e)
{
    bl_shard *s = (bl_shard *)(uintptr_t)shard;
    const char *slash = strrchr(where, '/');
    size_t n = slash ? (size_t)(slash - where) : 0; /* 0: the root */
    char *group;
    hid_t id;

    *name = slash ? slash + 1 : where;
    if (!s->parent_path || strlen(s->parent_path) != n || memcmp(s->parent_path, where, n)) {
        if (!(group = bl_strndup(where, n, e))) return BL_E_NOMEM;
        if ((id = H5Oopen(s->file, n ? group : "/", H5P_DEFAULT)) < 0) {
            H5Eclear2(H5E_DEFAULT);
            bl_fail(e, BL_E_MISSING, "%s: there is no '%s'", s->name, group);
            bl_free(group);
            return BL_E_MISSING;
        }
        if (s->parent >= 0) H5Oclose(s->parent);
        bl_free(s->parent_path);
        s->parent = id;
        s->parent_path = group;
    }
    *out = s->parent;
    return BL_OK;
}

static bl_status wrong(const bl_shard *s, const char *where, const char *wanted, bl_err *e)
{
    H5Eclear2(H5E_DEFAULT);
    return bl_fail(e, BL_E_FORMAT, "%s: '%s' is not %s", s->name, where, wanted);
}

bool bl_shard_has(const bl_shard *s, const char *where)
{
    hid_t parent;
    const char *name;
    bool found;

    if (find_parent(s, where, &parent, &name, NULL) != BL_OK) return false;
    found = H5Aexists(parent, name) > 0 ||
            (H5Iget_type(parent) == H5I_GROUP && H5Lexists(parent, name, H5P_DEFAULT) > 0);
    H5Eclear2(H5E_DEFAULT);
    return found;
}

/* The attribute, when it is of the class that is wanted; *n gets how many values it has. In a file an integer and a
 * real take 8 bytes, the reference to a text 16. */
static bl_status open_attribute(const bl_shard *s, const char *where, H5T_class_t class, const char *wanted, hid_t *out,
                                int64_t *n, bl_err *e)
{
    hid_t parent, a, type;
    const char *name;
    bl_status st = find_parent(s, where, &parent, &name, e);
    hsize_t size, one = class == H5T_STRING ? 16 : 8;
    bool good;

    if (st != BL_OK) return st;
    if ((a = H5Aopen(parent, name, H5P_DEFAULT)) < 0) {
        H5Eclear2(H5E_DEFAULT);
        return bl_fail(e, BL_E_MISSING, "%s: there is no attribute '%s'", s->name, where);
    }
    type = H5Aget_type(a);
    size = H5Aget_storage_size(a);
    good = type >= 0 && H5Tget_class(type) == class && (class != H5T_STRING || H5Tis_variable_str(type) > 0) &&
           size % one == 0;
    if (type >= 0) H5Tclose(type);
    if (!good) {
        H5Aclose(a);
        return wrong(s, where, wanted, e);
    }
    *n = (int64_t)(size / one);
    *out = a;
    return BL_OK;
}

/* ---- attributes --------------------------------------------------------------------------------- */
/* Copies n texts that HDF5 allocated into the arena and gives HDF5 its memory back. */
static bl_status keep_texts(char **v, int64_t n, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t i = 0; i < n; i++) {
        const char *text = v[i] ? v[i] : "";
        if (st == BL_OK && !(out[i] = bl_arena_str(a, text, strlen(text), e))) st = BL_E_NOMEM;
        if (v[i]) H5free_memory(v[i]);
    }
    return st;
}

bl_status bl_shard_text(const bl_shard *s, const char *where, bl_arena *a, const char **out, bl_err *e)
{
    hid_t id;
    int64_t n;
    char *v = NULL;
    bl_status st = open_attribute(s, where, H5T_STRING, "a text", &id, &n, e);

    if (st != BL_OK) return st;
    st = n != 1 || H5Aread(id, s->text_type, &v) < 0 ? wrong(s, where, "one text", e) : keep_texts(&v, 1, a, out, e);
    H5Aclose(id);
    return st;
}

bl_status bl_shard_names(const bl_shard *s, const char *where, bl_arena *a, const char ***out, int64_t *n, bl_err *e)
{
    hid_t id;
    int64_t count;
    char **v = NULL;
    const char **names;
    bl_status st = open_attribute(s, where, H5T_STRING, "a list of texts", &id, &count, e);

    if (st != BL_OK) return st;
    if (!(v = bl_new((size_t)count, sizeof *v, e)) || !(names = bl_alloc(a, (size_t)count, sizeof *names, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (count > 0 && H5Aread(id, s->text_type, v) < 0) {
        st = wrong(s, where, "a list of texts", e);
        goto out;
    }
    BL_TRY(keep_texts(v, count, a, names, e));
    *out = names;
    *n = count;
out:
    H5Aclose(id);
    bl_free(v);
    return st;
}

bl_status bl_shard_counts(const bl_shard *s, const char *where, bl_arena *a, int64_t **out, int64_t *n, bl_err *e)
{
    hid_t id;
    int64_t count, *v;
    bl_status st = open_attribute(s, where, H5T_INTEGER, "a list of integers", &id, &count, e);

    if (st != BL_OK) return st;
    if (!(v = bl_alloc(a, (size_t)count, sizeof *v, e))) st = BL_E_NOMEM;
    else if (count > 0 && H5Aread(id, H5T_NATIVE_INT64, v) < 0) st = wrong(s, where, "a list of integers", e);
    else {
        *out = v;
        *n = count;
    }
    H5Aclose(id);
    return st;
}

bl_status bl_shard_int(const bl_shard *s, const char *where, int64_t *out, bl_err *e)
{
    hid_t id;
    int64_t n, v;
    bl_status st = open_attribute(s, where, H5T_INTEGER, "an integer", &id, &n, e);

    if (st != BL_OK) return st;
    if (n != 1 || H5Aread(id, H5T_NATIVE_INT64, &v) < 0) st = wrong(s, where, "one integer", e);
    else *out = v;
    H5Aclose(id);
    return st;
}

bl_status bl_shard_real(const bl_shard *s, const char *where, double *out, bl_err *e)
{
    hid_t id;
    int64_t n;
    double v;
    bl_status st = open_attribute(s, where, H5T_FLOAT, "a number", &id, &n, e);

    if (st != BL_OK) return st;
    if (n != 1 || H5Aread(id, H5T_NATIVE_DOUBLE, &v) < 0) st = wrong(s, where, "one number", e);
    else *out = v;
    H5Aclose(id);
    return st;
}

/* ---- datasets ----------------------------------------------------------------------------------- */
static bl_status open_dataset(const bl_shard *s, const char *where, H5T_class_t class, const char *wanted, hid_t *out,
                              int64_t *n, bl_err *e)
{
    hid_t parent, d = H5I_INVALID_HID, type, space;
    const char *name;
    bl_status st = find_parent(s, where, &parent, &name, e);
    bool good;

    if (st != BL_OK) return st;
    if (H5Iget_type(parent) != H5I_GROUP || (d = H5Dopen2(parent, name, H5P_DEFAULT)) < 0) {
        H5Eclear2(H5E_DEFAULT);
        return bl_fail(e, BL_E_MISSING, "%s: there is no dataset '%s'", s->name, where);
    }
    type = H5Dget_type(d);
    space = H5Dget_space(d);
    *n = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    good = type >= 0 && H5Tget_class(type) == class && (class != H5T_STRING || H5Tis_variable_str(type) > 0) && *n >= 0;
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (!good) {
        H5Dclose(d);
        return wrong(s, where, wanted, e);
    }
    *out = d;
    return BL_OK;
}

/* All values of d in the memory type, 8 bytes each. */
static bl_status read_values(const bl_shard *s, const char *where, hid_t d, hid_t mem_type, int64_t n, bl_arena *a,
                             void **out, bl_err *e)
{
    void *v = bl_alloc(a, (size_t)n, 8, e);
    if (!v) return BL_E_NOMEM;
    if (n > 0 && H5Dread(d, mem_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) < 0)
        return bl_h5_fail(e, BL_E_CORRUPT, "%s: '%s' cannot be read", s->name, where);
    *out = v;
    return BL_OK;
}

bl_status bl_shard_reals(const bl_shard *s, const char *where, bl_arena *a, double **out, int64_t *n, bl_err *e)
{
    hid_t d;
    int64_t count;
    void *v;
    bl_status st = open_dataset(s, where, H5T_FLOAT, "a dataset of numbers", &d, &count, e);

    if (st != BL_OK) return st;
    if ((st = read_values(s, where, d, H5T_NATIVE_DOUBLE, count, a, &v, e)) == BL_OK) {
        *out = v;
        *n = count;
    }
    H5Dclose(d);
    return st;
}

bl_status bl_shard_floats(const bl_shard *s, const char *where, bl_arena *a, float **out, int64_t *rows, int64_t *cols,
                          bl_err *e)
{
    hid_t d, space;
    hsize_t dim[2] = {0};
    int64_t count;
    float *v;
    bl_status st = open_dataset(s, where, H5T_FLOAT, "a dataset of numbers", &d, &count, e);

    if (st != BL_OK) return st;
    space = H5Dget_space(d);
    bool two = space >= 0 && H5Sget_simple_extent_ndims(space) == 2 && H5Sget_simple_extent_dims(space, dim, NULL) == 2;
    if (space >= 0) H5Sclose(space);
    if (!two) st = wrong(s, where, "a dataset of two dimensions", e);
    else if (!(v = bl_alloc(a, (size_t)count, sizeof *v, e))) st = BL_E_NOMEM;
    else if (count && H5Dread(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) < 0)
        st = bl_h5_fail(e, BL_E_CORRUPT, "%s: dataset '%s' cannot be read", s->name, where);
    else {
        *out = v;
        *rows = (int64_t)dim[0];
        *cols = (int64_t)dim[1];
    }
    H5Dclose(d);
    return st;
}

/* One column of a compound dataset; HDF5 picks the member by its name. */
static bl_status column(const bl_shard *s, const char *where, const char *name, H5T_class_t class, hid_t value_type,
                        bl_arena *a, void **out, int64_t *n, bl_err *e)
{
    hid_t d, file_type = H5I_INVALID_HID, mem_type = H5I_INVALID_HID;
    int64_t count;
    int at;
    bl_status st = open_dataset(s, where, H5T_COMPOUND, "a table", &d, &count, e);

    if (st != BL_OK) return st;
    if ((file_type = H5Dget_type(d)) < 0 || (at = H5Tget_member_index(file_type, name)) < 0) {
        H5Eclear2(H5E_DEFAULT);
        st = bl_fail(e, BL_E_MISSING, "%s: table '%s' has no column '%s'", s->name, where, name);
        goto out;
    }
    if (H5Tget_member_class(file_type, (unsigned)at) != class) {
        st = bl_fail(e, BL_E_FORMAT, "%s: table '%s': column '%s' is not of %s", s->name, where, name,
                     class == H5T_INTEGER ? "integers" : "numbers");
        goto out;
    }
    if ((mem_type = H5Tcreate(H5T_COMPOUND, 8)) < 0 || H5Tinsert(mem_type, name, 0, value_type) < 0) {
        st = bl_h5_fail(e, BL_E_INTERNAL, "%s: table '%s': column '%s' cannot be read", s->name, where, name);
        goto out;
    }
    BL_TRY(read_values(s, where, d, mem_type, count, a, out, e));
    *n = count;
out:
    if (mem_type >= 0) H5Tclose(mem_type);
    if (file_type >= 0) H5Tclose(file_type);
    H5Dclose(d);
    return st;
}

bl_status bl_shard_column_int(const bl_shard *s, const char *where, const char *name, bl_arena *a, int64_t **out,
                              int64_t *n, bl_err *e)
{
    void *v;
    bl_status st = column(s, where, name, H5T_INTEGER, H5T_NATIVE_INT64, a, &v, n, e);
    if (st == BL_OK) *out = v;
    return st;
}

bl_status bl_shard_column_real(const bl_shard *s, const char *where, const char *name, bl_arena *a, double **out,
                               int64_t *n, bl_err *e)
{
    void *v;
    bl_status st = column(s, where, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, a, &v, n, e);
    if (st == BL_OK) *out = v;
    return st;
}

bl_status bl_shard_texts(const bl_shard *s, const char *where, bl_arena *a, const char ***out, int64_t *n, bl_err *e)
{
    hid_t d;
    int64_t count;
    char **v = NULL;
    const char **texts;
    bl_status st = open_dataset(s, where, H5T_STRING, "a dataset of texts", &d, &count, e);

    if (st != BL_OK) return st;
    if (!(v = bl_new((size_t)count, sizeof *v, e)) || !(texts = bl_alloc(a, (size_t)count, sizeof *texts, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (count > 0 && H5Dread(d, s->text_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) < 0) {
        st = bl_h5_fail(e, BL_E_CORRUPT, "%s: '%s' cannot be read", s->name, where);
        goto out;
    }
    BL_TRY(keep_texts(v, count, a, texts, e));
    *out = texts;
    *n = count;
out:
    H5Dclose(d);
    bl_free(v);
    return st;
}

/* ---- listing ------------------------------------------------------------------------------------ */
typedef struct names {
    bl_arena *arena;
    char **v;
    size_t n, cap;
    const char *prefix;
    bl_status st;
    bl_err *e;
} names;

static herr_t add_name(names *l, const char *name)
{
    char *at = NULL;
    if ((l->st = bl_grow(&l->v, &l->cap, l->n + 1, sizeof *l->v, l->e)) != BL_OK) return -1;
    if (!(at = bl_format_text(l->e, "%s%s", l->prefix, name)) ||
        !(l->v[l->n] = bl_arena_str(l->arena, at, strlen(at), l->e)))
        l->st = BL_E_NOMEM;
    bl_free(at);
    if (l->st != BL_OK) return -1;
    l->n++;
    return 0;
}

static herr_t link_name(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    (void)group;
    (void)info;
    return add_name(data, name);
}

/* Moves the list to the arena. */
static bl_status hand_over(names *l, bl_arena *a, const char ***out, int64_t *n, bl_err *e)
{
    const char **v = bl_alloc(a, l->n, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    for (size_t i = 0; i < l->n; i++) v[i] = l->v[i];
    *out = v;
    *n = (int64_t)l->n;
    return BL_OK;
}

bl_status bl_shard_list(const bl_shard *s, const char *group, bl_arena *a, const char ***out, int64_t *n, bl_err *e)
{
    names l = {.arena = a, .prefix = "", .e = e};
    hsize_t at = 0;
    hid_t id = H5Gopen2(s->file, group, H5P_DEFAULT);
    bl_status st = BL_OK;

    if (id < 0) {
        H5Eclear2(H5E_DEFAULT);
        return bl_fail(e, BL_E_MISSING, "%s: there is no group '%s'", s->name, group);
    }
    if (H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, &at, link_name, &l) < 0) {
        H5Eclear2(H5E_DEFAULT);
        st = l.st != BL_OK ? l.st : bl_fail(e, BL_E_CORRUPT, "%s: group '%s' cannot be listed", s->name, group);
        goto out;
    }
    st = hand_over(&l, a, out, n, e);
out:
    bl_free(l.v);
    H5Gclose(id);
    return st;
}

/* What HDF5's dimension scales add by themselves. */
static bool is_scale_attribute(const char *name)
{
    static const char *const theirs[] = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"};
    for (size_t i = 0; i < BL_COUNT(theirs); i++)
        if (!strcmp(name, theirs[i])) return true;
    return false;
}

static herr_t attribute_name(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    (void)object;
    (void)info;
    return is_scale_attribute(name) ? 0 : add_name(data, name);
}

static herr_t object_paths(hid_t root, const char *name, const H5O_info_t *info, void *data)
{
    names *l = data;
    bool is_root = !strcmp(name, "."), is_set = info->type == H5O_TYPE_DATASET;
    hsize_t at = 0;
    herr_t bad = 0;
    hid_t id = H5Oopen(root, name, H5P_DEFAULT);
    char *prefix = bl_format_text(l->e, "%s%s", is_root ? "" : name, is_root ? "" : is_set ? "@" : "/");

    if (!prefix) l->st = BL_E_NOMEM;
    if (id < 0 || !prefix) bad = -1;
    l->prefix = "";
    if (!bad && is_set) bad = add_name(l, name);
    l->prefix = prefix;
    if (!bad) bad = H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_INC, &at, attribute_name, l);
    if (id >= 0) H5Oclose(id);
    bl_free(prefix);
    return bad < 0 ? -1 : 0;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

bl_status bl_shard_paths(const bl_shard *s, bl_arena *a, const char ***out, int64_t *n, bl_err *e)
{
    names l = {.arena = a, .prefix = "", .e = e};
    bl_status st;

    if (H5Ovisit(s->file, H5_INDEX_NAME, H5_ITER_INC, object_paths, &l) < 0)
        st = l.st != BL_OK ? l.st : bl_h5_fail(e, BL_E_CORRUPT, "%s: its contents cannot be listed", s->name);
    else {
        if (l.n) qsort(l.v, l.n, sizeof *l.v, by_text);
        st = hand_over(&l, a, out, n, e);
    }
    H5Eclear2(H5E_DEFAULT);
    bl_free(l.v);
    return st;
}

/* ---- comparing ---------------------------------------------------------------------------------- */
/* When and how fast, never what. */
static bool is_excluded(const char *path)
{
    const char *name = path + strlen(path);
    while (name > path && name[-1] != '/' && name[-1] != '@') name--;
    return !strcmp(path, "created") || !strncmp(path, "run/", 4) || !strncmp(path, "env/", 4) ||
           strstr(name, "seconds") || strstr(name, "peak");
}

/* One attribute or dataset as bytes: texts one after the other with their NUL, numbers as they are in the file. */
static bl_status value_of(const bl_shard *s, const char *path, bl_text *out, bl_err *e)
{
    const char *name, *at = strchr(path, '@');
    char *where = bl_strdup(path, e);
    hid_t parent, id = H5I_INVALID_HID, type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    int64_t n = -1;
    size_t size = 0;
    bool is_attribute;
    char *bytes = NULL;
    bl_status st = where ? BL_OK : BL_E_NOMEM;

    if (st != BL_OK) return st;
    if (at) where[at - path] = '/';
    BL_TRY(find_parent(s, where, &parent, &name, e));
    is_attribute = H5Aexists(parent, name) > 0;
    id = is_attribute ? H5Aopen(parent, name, H5P_DEFAULT) : H5Dopen2(parent, name, H5P_DEFAULT);
    if (id >= 0) {
        type = is_attribute ? H5Aget_type(id) : H5Dget_type(id);
        space = is_attribute ? H5Aget_space(id) : H5Dget_space(id);
    }
    if (type >= 0 && space >= 0) {
        size = H5Tget_size(type);
        n = H5Sget_simple_extent_npoints(space);
    }
    if (n < 0) {
        st = bl_h5_fail(e, BL_E_CORRUPT, "%s: '%s' cannot be opened", s->name, path);
        goto out;
    }
    if (!(bytes = bl_new((size_t)n, size, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (n > 0 &&
        (is_attribute ? H5Aread(id, type, bytes) : H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes)) < 0) {
        st = bl_h5_fail(e, BL_E_CORRUPT, "%s: '%s' cannot be read", s->name, path);
        goto out;
    }
    bl_text_addf(out, "%d %lld\n", (int)H5Tget_class(type), (long long)n);
    if (H5Tget_class(type) == H5T_STRING) {
        for (char **v = (char **)(void *)bytes; v < (char **)(void *)bytes + n; v++) {
            bl_text_addn(out, *v ? *v : "", *v ? strlen(*v) + 1 : 1);
            if (*v) H5free_memory(*v);
        }
    } else if (H5Tget_class(type) == H5T_COMPOUND) {
        for (int c = 0; c < H5Tget_nmembers(type); c++) {
            char *member = H5Tget_member_name(type, (unsigned)c);
            size_t from = H5Tget_member_offset(type, (unsigned)c);
            if (member) bl_text_addf(out, "%s\n", member);
            for (int64_t i = 0; member && i < n && !is_excluded(member); i++)
                bl_text_addn(out, bytes + (size_t)i * size + from, 8);
            if (member) H5free_memory(member);
        }
    } else {
        bl_text_addn(out, bytes, (size_t)n * size);
    }
    st = bl_text_check(out, e);
out:
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (id >= 0) {
        if (is_attribute) H5Aclose(id);
        else H5Dclose(id);
    }
    bl_free(bytes);
    bl_free(where);
    return st;
}

bl_status bl_shard_same(const bl_shard *a, const bl_shard *b, bool *same, bl_text *why, bl_err *e)
{
    bl_arena *arena = NULL;
    const char **pa, **pb;
    int64_t na, nb, i = 0, j = 0;
    bl_text va = {0}, vb = {0};
    bl_status st;

    BL_TRY(bl_arena_new(&arena, e));
    BL_TRY(bl_shard_paths(a, arena, &pa, &na, e));
    BL_TRY(bl_shard_paths(b, arena, &pb, &nb, e));
    *same = true;
    while (*same && (i < na || j < nb)) {
        int order = i == na ? 1 : j == nb ? -1 : strcmp(pa[i], pb[j]);
        const char *path = order <= 0 ? pa[i] : pb[j];
        if (!is_excluded(path)) {
            if (order) {
                bl_text_addf(why, "'%s' is only in %s", path, order < 0 ? a->name : b->name);
                *same = false;
            } else {
                va.n = vb.n = 0;
                BL_TRY(value_of(a, path, &va, e));
                BL_TRY(value_of(b, path, &vb, e));
                if (va.n != vb.n || memcmp(va.s, vb.s, va.n)) {
                    bl_text_addf(why, "'%s' differs", path);
                    *same = false;
                }
            }
        }
        i += order <= 0;
        j += order >= 0;
    }
    st = bl_text_check(why, e);
out:
    bl_text_free(&va);
    bl_text_free(&vb);
    bl_arena_free(arena);
    return st;
}
