/* record.c - writes one shard: an HDF5 image in memory, a head in front of it, and one atomic replace at the end.
 *
 * Everything has a known size when it is written: no dataset grows, no file is opened again, and HDF5 never touches the
 * disk. HDF5 keeps its own list of open files by name, so every image gets a name of its own.
 */
#include "shard_impl.h"
#include "kernels/base/fs.h"

#include <hdf5_hl.h>
#include <math.h>
#include <string.h>

struct bl_record {
    hid_t file, text_type;
    char *path, *key;
    bl_hash cell;
    bool has_created, poisoned;
    bl_err why; /* the first failure */
};

enum { CHUNK_BYTES = 128 * 1024, DEFLATE = 4 };

/* ---- poison ------------------------------------------------------------------------------------- */
static bl_status refuse(const bl_record *r, bl_err *e)
{
    return bl_fail(e, r->why.status, "%s: nothing more can be recorded: %s", r->path, r->why.text);
}

/* Every public call ends here; its helpers write their sentence to r->why. */
static bl_status done(bl_record *r, bl_status st, bl_err *e)
{
    if (st == BL_OK) return BL_OK;
    r->poisoned = true;
    r->why.status = st;
    return bl_fail(e, st, "%s", r->why.text);
}

/* ---- opening ------------------------------------------------------------------------------------ */
static hid_t new_image(void)
{
    static unsigned long long n_images;
    char name[48];
    hid_t file = H5I_INVALID_HID, fapl = H5Pcreate(H5P_FILE_ACCESS), fcpl = H5Pcreate(H5P_FILE_CREATE);

    snprintf(name, sizeof name, "bitladder-record-%llu", __atomic_add_fetch(&n_images, 1, __ATOMIC_RELAXED));
    if (fapl >= 0 && fcpl >= 0 && H5Pset_fapl_core(fapl, 64 * 1024, false) >= 0 &&
        H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_libver_bounds(fapl, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0 &&
        H5Pset_obj_track_times(fcpl, false) >= 0)
        file = H5Fcreate(name, H5F_ACC_TRUNC, fcpl, fapl);
    if (fcpl >= 0) H5Pclose(fcpl);
    if (fapl >= 0) H5Pclose(fapl);
    return file;
}

bl_status bl_record_begin(const char *path, const char *cell_key, bl_hash cell_hash, bl_record **out, bl_err *e)
{
    bl_status st = BL_OK;
    char hex[33];
    bl_record *r = bl_new(1, sizeof *r, e);

    if (!r) return BL_E_NOMEM;
    bl_h5_init();
    r->file = r->text_type = H5I_INVALID_HID;
    r->cell = cell_hash;
    if (!(r->path = bl_strdup(path, e)) || !(r->key = bl_valid_text(cell_key, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if ((r->text_type = bl_h5_text_type()) < 0 || (r->file = new_image()) < 0) {
        st = bl_h5_fail(e, BL_E_INTERNAL, "%s: HDF5 cannot begin a file in memory", path);
        goto out;
    }
    bl_hash_hex(cell_hash, hex);
    BL_TRY(bl_record_text(r, "schema", "bitladder-results", e));
    BL_TRY(bl_record_int(r, "schema_version", BL_SHARD_SCHEMA, NULL, e));
    BL_TRY(bl_record_text(r, "tool_version", BL_VERSION, e));
    BL_TRY(bl_record_text(r, "run_key", r->key, e));
    BL_TRY(bl_record_text(r, "cell_hash", hex, e));
    *out = r;
    r = NULL;
out:
    bl_record_drop(r);
    return st;
}

void bl_record_drop(bl_record *r)
{
    if (!r) return;
    if (r->text_type >= 0) H5Tclose(r->text_type);
    if (r->file >= 0) H5Fclose(r->file);
    bl_free(r->path);
    bl_free(r->key);
    bl_free(r);
}

/* The group that `where` is in, made when it is not there yet; *name is the part after it. */
static bl_status open_parent(bl_record *r, const char *where, hid_t *out, const char **name)
{
    char *group = NULL;
    hid_t id = H5I_INVALID_HID, lcpl = H5I_INVALID_HID, gcpl = H5I_INVALID_HID;
    bl_status st = bl_where_split(where, &group, name, &r->why);

    if (st != BL_OK) goto out;
    if ((id = H5Oopen(r->file, group, H5P_DEFAULT)) < 0) {
        H5Eclear2(H5E_DEFAULT);
        if ((lcpl = H5Pcreate(H5P_LINK_CREATE)) >= 0 && H5Pset_create_intermediate_group(lcpl, 1) >= 0 &&
            (gcpl = H5Pcreate(H5P_GROUP_CREATE)) >= 0 && H5Pset_obj_track_times(gcpl, false) >= 0)
            id = H5Gcreate2(r->file, group, lcpl, gcpl, H5P_DEFAULT);
    }
    if (id < 0) {
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: group '%s' cannot be made", r->path, group);
        goto out;
    }
    *out = id;
out:
    if (lcpl >= 0) H5Pclose(lcpl);
    if (gcpl >= 0) H5Pclose(gcpl);
    bl_free(group);
    return st;
}

/* ---- attributes --------------------------------------------------------------------------------- */
static bl_status put_attribute(bl_record *r, hid_t object, const char *name, hid_t file_type, hid_t mem_type, int64_t n,
                               const void *value)
{
    hsize_t dim = (hsize_t)n;
    hid_t space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL), a = H5I_INVALID_HID;
    bl_status st = BL_OK;

    if (space < 0 || (a = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
        H5Awrite(a, mem_type, value) < 0)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: attribute '%s' cannot be written", r->path, name);
    if (a >= 0 && H5Aclose(a) < 0 && st == BL_OK)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: attribute '%s' cannot be closed", r->path, name);
    if (space >= 0) H5Sclose(space);
    return st;
}

/* n < 0: one text, a scalar. */
static bl_status put_texts(bl_record *r, hid_t object, const char *name, const char *const *v, int64_t n)
{
    int64_t count = n < 0 ? 1 : n;
    char **clean = bl_new((size_t)count, sizeof *clean, &r->why);
    bl_status st = clean ? BL_OK : BL_E_NOMEM;

    for (int64_t i = 0; i < count && st == BL_OK; i++)
        if (!(clean[i] = bl_valid_text(v[i] ? v[i] : "", &r->why))) st = BL_E_NOMEM;
    if (st == BL_OK) st = put_attribute(r, object, name, r->text_type, r->text_type, n, clean);
    for (int64_t i = 0; i < count && clean; i++) bl_free(clean[i]);
    bl_free(clean);
    return st;
}

static bl_status put_text(bl_record *r, hid_t object, const char *name, const char *v)
{
    return put_texts(r, object, name, &v, -1);
}

/* The unit of attribute `name`, as attribute `<name>_units`. */
static bl_status put_unit(bl_record *r, hid_t object, const char *name, const char *unit)
{
    bl_status st;
    char *text;

    if (!unit) return BL_OK;
    if (!(text = bl_format_text(&r->why, "%s_units", name))) return BL_E_NOMEM;
    st = put_text(r, object, text, unit);
    bl_free(text);
    return st;
}

bl_status bl_record_text(bl_record *r, const char *where, const char *value, bl_err *e)
{
    bl_status st;
    hid_t id = H5I_INVALID_HID;
    const char *name;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(open_parent(r, where, &id, &name));
    BL_TRY(put_text(r, id, name, value));
    if (!strcmp(where, "created")) r->has_created = true;
out:
    if (id >= 0) H5Oclose(id);
    return done(r, st, e);
}

bl_status bl_record_names(bl_record *r, const char *where, const char *const *v, int64_t n, bl_err *e)
{
    bl_status st;
    hid_t id = H5I_INVALID_HID;
    const char *name;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(open_parent(r, where, &id, &name));
    BL_TRY(put_texts(r, id, name, v, n));
out:
    if (id >= 0) H5Oclose(id);
    return done(r, st, e);
}

bl_status bl_record_counts(bl_record *r, const char *where, const int64_t *v, int64_t n, bl_err *e)
{
    bl_status st;
    hid_t id = H5I_INVALID_HID;
    const char *name;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(open_parent(r, where, &id, &name));
    BL_TRY(put_attribute(r, id, name, H5T_STD_I64LE, H5T_NATIVE_INT64, n, v));
out:
    if (id >= 0) H5Oclose(id);
    return done(r, st, e);
}

bl_status bl_record_int(bl_record *r, const char *where, int64_t value, const char *unit, bl_err *e)
{
    bl_status st;
    hid_t id = H5I_INVALID_HID;
    const char *name;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(open_parent(r, where, &id, &name));
    BL_TRY(put_attribute(r, id, name, H5T_STD_I64LE, H5T_NATIVE_INT64, -1, &value));
    BL_TRY(put_unit(r, id, name, unit));
out:
    if (id >= 0) H5Oclose(id);
    return done(r, st, e);
}

bl_status bl_record_real(bl_record *r, const char *where, double value, const char *unit, bl_err *e)
{
    bl_status st;
    hid_t id = H5I_INVALID_HID;
    const char *name;

    if (r->poisoned) return refuse(r, e);
    if (!isfinite(value)) {
        st = bl_fail(&r->why, BL_E_NUMERIC, "%s: '%s' is %f, not a finite number", r->path, where, value);
        goto out;
    }
    BL_TRY(open_parent(r, where, &id, &name));
    BL_TRY(put_attribute(r, id, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, -1, &value));
    BL_TRY(put_unit(r, id, name, unit));
out:
    if (id >= 0) H5Oclose(id);
    return done(r, st, e);
}

bl_status bl_record_absent(bl_record *r, const char *where, const char *reason, bl_err *e)
{
    bl_status st;
    char *at;

    if (r->poisoned) return refuse(r, e);
    if (!(at = bl_format_text(&r->why, "%s_absent_reason", where))) return done(r, BL_E_NOMEM, e);
    st = bl_record_text(r, at, reason, e);
    bl_free(at);
    return st;
}

/* ---- datasets ----------------------------------------------------------------------------------- */
/* What kind of dataset: numbers are chunked, shuffled, deflated and checked; texts are chunked only (HDF5 refuses
 * Fletcher32 on them). */
static hid_t dataset_layout(size_t row_bytes, int ndim, const hsize_t dim[2], bool numeric)
{
    hsize_t chunk[2] = {1, ndim > 1 ? BL_MAX(dim[1], 1) : 1};
    hsize_t bytes = row_bytes * chunk[1], fit = BL_MAX(CHUNK_BYTES / BL_MAX(bytes, 1), 1);
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);

    chunk[0] = BL_MAX(BL_MIN(dim[0], fit), 1);
    if (p >= 0 && H5Pset_obj_track_times(p, false) >= 0 && H5Pset_chunk(p, ndim, chunk) >= 0 &&
        (!numeric || (H5Pset_shuffle(p) >= 0 && H5Pset_deflate(p, DEFLATE) >= 0 && H5Pset_fletcher32(p) >= 0)))
        return p;
    if (p >= 0) H5Pclose(p);
    return H5I_INVALID_HID;
}

static bl_status put_dataset(bl_record *r, const char *where, hid_t file_type, hid_t mem_type, size_t row_bytes,
                             int ndim, const hsize_t dim[2], const void *data, bool numeric, hid_t *out)
{
    bl_status st;
    const char *name;
    hsize_t most[2] = {BL_MAX(dim[0], 1), ndim > 1 ? BL_MAX(dim[1], 1) : 1};
    hid_t parent = H5I_INVALID_HID, layout = H5I_INVALID_HID, space = H5I_INVALID_HID, d = H5I_INVALID_HID;

    BL_TRY(open_parent(r, where, &parent, &name));
    if ((layout = dataset_layout(row_bytes, ndim, dim, numeric)) < 0 ||
        (space = H5Screate_simple(ndim, dim, most)) < 0 ||
        (d = H5Dcreate2(parent, name, file_type, space, H5P_DEFAULT, layout, H5P_DEFAULT)) < 0 ||
        (dim[0] > 0 && (ndim < 2 || dim[1] > 0) && H5Dwrite(d, mem_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)) {
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: dataset '%s' cannot be written", r->path, where);
        goto out;
    }
    *out = d;
    d = H5I_INVALID_HID;
out:
    if (d >= 0) H5Dclose(d);
    if (space >= 0) H5Sclose(space);
    if (layout >= 0) H5Pclose(layout);
    if (parent >= 0) H5Oclose(parent);
    return st;
}

static bl_status put_caption(bl_record *r, hid_t d, const char *unit, const char *long_name)
{
    bl_status st = put_text(r, d, "units", unit ? unit : "1");
    return st != BL_OK ? st : put_text(r, d, "long_name", long_name);
}

static bl_status all_finite(bl_record *r, const char *where, const char *column, const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return bl_fail(&r->why, BL_E_NUMERIC, "%s: '%s'%s%s: element %lld is %f, not a finite number", r->path,
                           where, column ? ", column " : "", column ? column : "", (long long)i, v[i]);
    return BL_OK;
}

static bl_status put_reals(bl_record *r, const char *where, const double *v, int ndim, const hsize_t dim[2],
                           const char *unit, const char *long_name)
{
    bl_status st;
    hid_t d = H5I_INVALID_HID;

    BL_TRY(all_finite(r, where, NULL, v, (int64_t)(dim[0] * (ndim > 1 ? dim[1] : 1))));
    BL_TRY(put_dataset(r, where, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, sizeof *v, ndim, dim, v, true, &d));
    BL_TRY(put_caption(r, d, unit, long_name));
out:
    if (d >= 0 && H5Dclose(d) < 0 && st == BL_OK)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: dataset '%s' cannot be closed", r->path, where);
    return st;
}

bl_status bl_record_reals(bl_record *r, const char *where, const double *v, int64_t n, const char *unit,
                          const char *long_name, bl_err *e)
{
    if (r->poisoned) return refuse(r, e);
    return done(r, put_reals(r, where, v, 1, (hsize_t[2]){(hsize_t)n, 1}, unit, long_name), e);
}

bl_status bl_record_ints(bl_record *r, const char *where, const int64_t *v, int64_t n, const char *unit,
                         const char *long_name, bl_err *e)
{
    bl_status st;
    hid_t d = H5I_INVALID_HID;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(
        put_dataset(r, where, H5T_STD_I64LE, H5T_NATIVE_INT64, sizeof *v, 1, (hsize_t[2]){(hsize_t)n, 1}, v, true, &d));
    BL_TRY(put_caption(r, d, unit, long_name));
out:
    if (d >= 0 && H5Dclose(d) < 0 && st == BL_OK)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: dataset '%s' cannot be closed", r->path, where);
    return done(r, st, e);
}

bl_status bl_record_floats(bl_record *r, const char *where, const float *v, int64_t rows, int64_t cols,
                           const char *long_name, bl_err *e)
{
    bl_status st;
    hid_t d = H5I_INVALID_HID;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(put_dataset(r, where, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, sizeof *v, 2,
                       (hsize_t[2]){(hsize_t)rows, (hsize_t)cols}, v, false, &d));
    BL_TRY(put_caption(r, d, NULL, long_name));
out:
    if (d >= 0 && H5Dclose(d) < 0 && st == BL_OK)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: dataset '%s' cannot be closed", r->path, where);
    return done(r, st, e);
}

bl_status bl_record_texts(bl_record *r, const char *where, const char *const *v, int64_t n, const char *long_name,
                          bl_err *e)
{
    bl_status st = BL_OK;
    char **clean = NULL;
    hid_t d = H5I_INVALID_HID;

    if (r->poisoned) return refuse(r, e);
    if (!(clean = bl_new((size_t)n, sizeof *clean, &r->why))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++)
        if (!(clean[i] = bl_valid_text(v[i] ? v[i] : "", &r->why))) {
            st = BL_E_NOMEM;
            goto out;
        }
    BL_TRY(put_dataset(r, where, r->text_type, r->text_type, sizeof(hvl_t), 1, (hsize_t[2]){(hsize_t)n, 1}, clean,
                       false, &d));
    BL_TRY(put_text(r, d, "long_name", long_name));
out:
    if (d >= 0 && H5Dclose(d) < 0 && st == BL_OK)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: dataset '%s' cannot be closed", r->path, where);
    for (int64_t i = 0; i < n && clean; i++) bl_free(clean[i]);
    bl_free(clean);
    return done(r, st, e);
}

/* ---- dimension scales --------------------------------------------------------------------------- */
static bl_status attach(bl_record *r, const char *where, unsigned dim, const char *scale, const char *name)
{
    bl_status st = BL_OK;
    hid_t d = H5Dopen2(r->file, where, H5P_DEFAULT), s = H5Dopen2(r->file, scale, H5P_DEFAULT);

    if (d < 0 || s < 0 || (H5DSis_scale(s) <= 0 && H5DSset_scale(s, name) < 0) || H5DSattach_scale(d, s, dim) < 0 ||
        H5DSset_label(d, dim, name) < 0)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: '%s' cannot become a dimension scale of '%s'", r->path, scale,
                        where);
    if (s >= 0) H5Dclose(s);
    if (d >= 0) H5Dclose(d);
    return st;
}

bl_status bl_record_scale(bl_record *r, const char *where, const char *scale, const char *name, bl_err *e)
{
    return r->poisoned ? refuse(r, e) : done(r, attach(r, where, 0, scale, name), e);
}

bl_status bl_record_grid(bl_record *r, const char *where, const double *v, const bl_axis *rows, const bl_axis *cols,
                         const char *unit, const char *long_name, bl_err *e)
{
    const bl_axis *axis[2] = {rows, cols};
    int ndim = cols ? 2 : 1;
    bl_status st;
    char *at = NULL;

    if (r->poisoned) return refuse(r, e);
    BL_TRY(put_reals(r, where, v, ndim, (hsize_t[2]){(hsize_t)rows->n, cols ? (hsize_t)cols->n : 1}, unit, long_name));
    for (int i = 0; i < ndim; i++) {
        bl_free(at);
        if (!(at = bl_format_text(&r->why, "%s_%s", where, axis[i]->name))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(put_reals(r, at, axis[i]->v, 1, (hsize_t[2]){(hsize_t)axis[i]->n, 1}, axis[i]->unit, axis[i]->name));
        BL_TRY(attach(r, where, (unsigned)i, at, axis[i]->name));
    }
out:
    bl_free(at);
    return done(r, st, e);
}

/* ---- tables ------------------------------------------------------------------------------------- */
/* The compound type of the numeric columns, little endian on disk and native in memory; both are packed, 8 bytes a
 * column. */
static bl_status row_types(bl_record *r, const char *where, const bl_table_data *t, int n_numeric, hid_t *file_type,
                           hid_t *mem_type)
{
    size_t at = 0;

    if ((*file_type = H5Tcreate(H5T_COMPOUND, 8 * (size_t)n_numeric)) < 0 ||
        (*mem_type = H5Tcreate(H5T_COMPOUND, 8 * (size_t)n_numeric)) < 0)
        return bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: table '%s': no row type", r->path, where);
    for (int i = 0; i < t->n_columns; i++) {
        const bl_column *c = &t->column[i];
        if (c->type == BL_COL_TEXT) continue;
        if (H5Tinsert(*file_type, c->name, at, c->type == BL_COL_INT ? H5T_STD_I64LE : H5T_IEEE_F64LE) < 0 ||
            H5Tinsert(*mem_type, c->name, at, c->type == BL_COL_INT ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE) < 0)
            return bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: table '%s': column '%s' cannot be added", r->path, where,
                              c->name);
        at += 8;
    }
    return BL_OK;
}

static bl_status put_numbers(bl_record *r, const char *where, const bl_table_data *t, int n_numeric)
{
    bl_status st = BL_OK;
    hid_t file_type = H5I_INVALID_HID, mem_type = H5I_INVALID_HID, d = H5I_INVALID_HID;
    uint64_t *rows = NULL;
    const char **unit = NULL, **long_name = NULL;
    int k = 0;

    if (!(rows = bl_new((size_t)t->n, 8 * (size_t)n_numeric, &r->why)) ||
        !(unit = bl_new((size_t)n_numeric, sizeof *unit, &r->why)) ||
        !(long_name = bl_new((size_t)n_numeric, sizeof *long_name, &r->why))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < t->n_columns; i++) {
        const bl_column *c = &t->column[i];
        if (c->type == BL_COL_TEXT) continue;
        if (c->type == BL_COL_REAL) BL_TRY(all_finite(r, where, c->name, c->data, t->n));
        for (int64_t j = 0; j < t->n; j++) memcpy(&rows[j * n_numeric + k], (const char *)c->data + 8 * j, 8);
        unit[k] = c->unit ? c->unit : "1";
        long_name[k++] = c->long_name;
    }
    BL_TRY(row_types(r, where, t, n_numeric, &file_type, &mem_type));
    BL_TRY(put_dataset(r, where, file_type, mem_type, 8 * (size_t)n_numeric, 1, (hsize_t[2]){(hsize_t)t->n, 1}, rows,
                       true, &d));
    BL_TRY(put_texts(r, d, "units", unit, n_numeric));
    BL_TRY(put_texts(r, d, "long_name", long_name, n_numeric));
out:
    if (d >= 0 && H5Dclose(d) < 0 && st == BL_OK)
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: table '%s' cannot be closed", r->path, where);
    if (mem_type >= 0) H5Tclose(mem_type);
    if (file_type >= 0) H5Tclose(file_type);
    bl_free(rows);
    bl_free(unit);
    bl_free(long_name);
    return st;
}

bl_status bl_record_table(bl_record *r, const char *where, const bl_table_data *t, bl_err *e)
{
    bl_status st = BL_OK;
    int n_numeric = 0;

    if (r->poisoned) return refuse(r, e);
    for (int i = 0; i < t->n_columns; i++) n_numeric += t->column[i].type != BL_COL_TEXT;
    if (n_numeric) BL_TRY(put_numbers(r, where, t, n_numeric));
    for (int i = 0; i < t->n_columns; i++) {
        const bl_column *c = &t->column[i];
        if (c->type != BL_COL_TEXT) continue;
        char *at = bl_format_text(&r->why, "%s_%s", where, c->name);
        if (!at) {
            st = BL_E_NOMEM;
            goto out;
        }
        st = bl_record_texts(r, at, c->data, t->n, c->long_name, NULL);
        bl_free(at);
        if (st != BL_OK) goto out;
    }
out:
    return done(r, st, e);
}

/* ---- commit ------------------------------------------------------------------------------------- */
/* The image of the finished file; the record has no open file afterwards. */
static bl_status take_image(bl_record *r, uint8_t **out, size_t *n)
{
    bl_status st = BL_OK;
    uint8_t *image = NULL;
    ssize_t size = -1;
    herr_t closed;

    if (H5Fflush(r->file, H5F_SCOPE_GLOBAL) < 0 || (size = H5Fget_file_image(r->file, NULL, 0)) <= 0) {
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: HDF5 cannot finish the file in memory", r->path);
        goto out;
    }
    if (!(image = bl_new((size_t)size, 1, &r->why))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (H5Fget_file_image(r->file, image, (size_t)size) != size) {
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: HDF5 does not give the %zd bytes of the file", r->path, size);
        goto out;
    }
    closed = H5Fclose(r->file);
    r->file = H5I_INVALID_HID;
    if (closed < 0) {
        st = bl_h5_fail(&r->why, BL_E_INTERNAL, "%s: HDF5 cannot close the file in memory", r->path);
        goto out;
    }
    *out = image;
    *n = (size_t)size;
    image = NULL;
out:
    bl_free(image);
    return st;
}

bl_status bl_record_commit(bl_record *r, bl_err *e)
{
    bl_status st = BL_OK;
    uint8_t head[BL_SHARD_HEAD], *image = NULL;
    size_t n = 0;
    bl_writer *w = NULL;
    bl_shard_head h;
    char now[32];

    if (r->poisoned) return refuse(r, e);
    if (!r->has_created) {
        bl_utc(now);
        if ((st = bl_record_text(r, "created", now, e)) != BL_OK) return st;
    }
    BL_TRY(take_image(r, &image, &n));
    h = (bl_shard_head){.schema = BL_SHARD_SCHEMA,
                        .length = BL_SHARD_HEAD + n,
                        .cell = r->cell,
                        .key = bl_hash_bytes(r->key, strlen(r->key))};
    bl_shard_head_put(head, &h, r->key);
    BL_TRY(bl_shard_sum(head, image, n, &h.sum, &r->why));
    bl_shard_head_put(head, &h, r->key);
    BL_TRY(bl_writer_open(r->path, &w, &r->why));
    if ((st = bl_writer_add(w, head, sizeof head, &r->why)) != BL_OK ||
        (st = bl_writer_add(w, image, n, &r->why)) != BL_OK || (st = bl_writer_commit(w, &r->why)) != BL_OK) {
        if (st == BL_E_DISK) bl_within(&r->why, "needed %.1f MB", (double)h.length / 1e6);
        goto out;
    }
    w = NULL;
out:
    bl_writer_drop(w);
    bl_free(image);
    if (st != BL_OK) return done(r, st, e);
    bl_record_drop(r);
    return BL_OK;
}
