// gbench_shim.cc - the one file that sees Google Benchmark; everything else goes through gbench.h.
#include <benchmark/benchmark.h>
#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>
extern "C" {
#include "gbench.h"
}

namespace
{

struct session {
    bl_status st = BL_OK; // the first failure; nothing is timed after it
    bl_err *e;
};

// Leaves the library: of repetitions of which some are skipped and others are not it makes no statistics, it aborts.
struct stopped {
};

void timed(benchmark::State &state, bl_gbench_case *c, session *s)
{
    bool skip = false;
    if (s->st == BL_OK) s->st = c->begin(c->ctx, &skip, s->e);
    if (s->st != BL_OK) throw stopped{};
    if (skip) {
        state.SkipWithError("not timed");
        return;
    }
    for (auto _ : state)
        if ((s->st = c->run(c->ctx, s->e)) != BL_OK) throw stopped{};
    for (int i = 0; i < BL_GBENCH_COUNTERS && c->counter[i].name; i++)
        state.counters[c->counter[i].name] = benchmark::Counter(
            c->counter[i].value,
            c->counter[i].rate ? benchmark::Counter::kIsIterationInvariantRate : benchmark::Counter::kDefaults);
}

// Google Benchmark's own JSON, and the times of each case on the way.
class reporter : public benchmark::JSONReporter
{
  public:
    explicit reporter(const std::map<std::string, bl_gbench_case *> &of) : of_(of) {}

    // One report of all batches: the library begins and ends one for each.
    bool ReportContext(const Context &context) override
    {
        if (begun_) return true;
        begun_ = true;
        return benchmark::JSONReporter::ReportContext(context);
    }
    void Finalize() override {}
    void finish()
    {
        if (begun_) benchmark::JSONReporter::Finalize();
    }

    void ReportRuns(const std::vector<Run> &runs) override
    {
        std::vector<Run> good;
        std::vector<double> seconds;
        for (const Run &r : runs) {
            if (r.error_occurred) continue;
            good.push_back(r);
            if (r.run_type == Run::RT_Iteration && r.iterations > 0)
                seconds.push_back(r.real_accumulated_time / static_cast<double>(r.iterations));
        }
        if (good.empty()) return;
        auto at = of_.find(good.front().run_name.function_name);
        if (at != of_.end() && at->second->repeat && !seconds.empty()) {
            std::copy(seconds.begin(), seconds.end(), at->second->repeat);
            at->second->n_repeat = static_cast<int64_t>(seconds.size());
        }
        std::sort(seconds.begin(), seconds.end());
        size_t n = seconds.size();
        if (n > 0 && at != of_.end()) { // the aggregates come in a call of their own
            at->second->seconds = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
            at->second->seconds_min = seconds.front();
            at->second->seconds_max = seconds.back();
        }
        benchmark::JSONReporter::ReportRuns(good);
    }

  private:
    const std::map<std::string, bl_gbench_case *> &of_;
    bool begun_ = false;
};

void start(const bl_gbench_opts *o)
{
    static std::set<std::string> said; // the library keeps its context for the life of the process
    static char name[] = "bitladder", in_turn[] = "--benchmark_enable_random_interleaving=true";
    static char *argv[] = {name, in_turn, nullptr};
    int argc = 2;
    if (said.empty()) benchmark::Initialize(&argc, argv);
    said.insert("");
    for (const char *const *p = o->context; p && *p; p += 2)
        if (said.insert(p[0]).second) benchmark::AddCustomContext(p[0], p[1]);
}

} // namespace

extern "C" bool bl_gbench_there(void) { return true; }

extern "C" bl_status bl_gbench_run(bl_gbench_case *c, size_t n, const bl_gbench_opts *o, bl_text *json, bl_err *e)
try {
    session s;
    std::map<std::string, bl_gbench_case *> of;
    std::ostringstream text;

    s.e = e;
    start(o);
    for (size_t i = 0; i < n; i++) {
        c[i].seconds = c[i].seconds_min = c[i].seconds_max = 0;
        c[i].n_repeat = 0;
        of[c[i].name] = &c[i];
    }
    reporter report(of);
    report.SetOutputStream(&text);
    report.SetErrorStream(&text);
    for (size_t from = 0, to; from < n && s.st == BL_OK; from = to) {
        benchmark::ClearRegisteredBenchmarks();
        for (to = from; to < n && c[to].batch == c[from].batch; to++) {
            bl_gbench_case *one = &c[to];
            benchmark::RegisterBenchmark(one->name, [one, &s](benchmark::State &state) { timed(state, one, &s); })
                ->UseRealTime()
                ->Unit(benchmark::kMicrosecond)
                ->MinTime(o->min_time)
                ->Repetitions(static_cast<int>(o->repetitions));
        }
        try {
            benchmark::RunSpecifiedBenchmarks(&report, nullptr, ".");
        } catch (const stopped &) { // s.st says why
        }
    }
    report.finish();
    benchmark::ClearRegisteredBenchmarks();
    if (s.st == BL_OK) {
        bl_text_add(json, text.str().c_str());
        s.st = bl_text_check(json, e);
    }
    return s.st;
} catch (const std::exception &x) {
    return bl_fail(e, BL_E_NOMEM, "Google Benchmark: %s", x.what());
}
