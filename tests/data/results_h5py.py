"""What h5py and pandas make of a shard: run with the path of one, prints "ok" or fails with an assertion."""
import sys

try:
    import h5py
    import pandas
except ImportError as missing:
    print("skip:", missing)
    sys.exit(77)

with h5py.File(sys.argv[1], "r") as f:
    assert f.userblock_size == 512, f.userblock_size
    assert f.attrs["schema"] == "bitladder-results" and f.attrs["schema_version"] == 2
    assert f.attrs["run_key"] == "smollm2-135m/rtn:w4g64/piqa/0" and len(f.attrs["cell_hash"]) == 32
    assert isinstance(f["model"].attrs["name"], str) and f["model"].attrs["name"] == "smollm2-135m"
    assert f["model"].attrs["packed_bytes"] == 112000000 and f["model"].attrs["packed_bytes_units"] == "byte"

    task = f["task/piqa"]
    assert list(task.attrs["metric_names"][:2]) == ["acc", "acc_norm"]
    assert task["metric"].attrs["acc"] > 0.5 and task["metric"].attrs["acc_stderr"] == 0.0108

    samples = pandas.DataFrame(task["samples"][:])
    assert list(samples.columns) == ["id", "pick", "gold", "n_choices", "flags", "tokens", "n_values", "n_replies", "n_answers",
                                     "score_0", "score_1"], samples.columns
    assert len(samples) == 12 and list(samples["id"]) == list(range(12))
    values = task["samples_value"][:].reshape(len(samples), -1)
    assert values.shape == (12, 2) and abs(values[7, 0] - (30.1 + 7 / 7.0 + 0.1)) < 1e-12
    assert len(task["samples"].attrs["units"]) == len(samples.columns)
    assert task["samples"].dtype.itemsize == 8 * len(samples.columns)          # packed
    assert task["samples_reply"].asstr()[3] == "three × \"quoted\"\n\U0001f600", task["samples_reply"].asstr()[3]

    kl = task["kl"]
    assert kl.attrs["units"] == "nat" and kl.attrs["long_name"] and kl.shape == (40,)
    assert task["dp"].shape == kl.shape and task["dp"].attrs["units"] == "1"
    for dataset in (kl, task["dp"], task["samples"], f["method/layers"]):
        assert dataset.chunks and dataset.compression == "gzip" and dataset.compression_opts == 4 and dataset.shuffle and dataset.fletcher32, dataset
    quantiles = task["kl_quantiles"]
    scale = quantiles.dims[0][0]
    assert quantiles.dims[0].label == "quantile" and h5py.h5ds.is_scale(scale.id) and scale[0] == 0 and scale[-1] == 1
    assert abs(quantiles[-1] - max(kl[:])) == 0

    layers = pandas.DataFrame(f["method/layers"][:])
    layers["name"] = f["method/layers_name"].asstr()[:]
    assert layers["name"][2] == "model.layers.0.mlp.up_proj" and layers["nmse"][2] == 0.03
    assert list(f["method/layers"].dims[0][0][:]) == [0, 1, 2]

    def visit(name, thing):
        if isinstance(thing, h5py.Dataset):
            assert "long_name" in thing.attrs, name
            text = thing.dtype.kind == "O"
            assert text or "units" in thing.attrs, name
            assert not text or h5py.check_string_dtype(thing.dtype).encoding == "utf-8", name
    f.visititems(visit)
print("ok")
