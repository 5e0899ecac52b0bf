/* order.c - events, streams, graphs. */
#include "cuda.h"

struct bl_event {
    bl_backend *be;
    cudaEvent_t at;
    bool recorded;
};
struct bl_device_stream {
    bl_backend *be;
    cudaStream_t s;
};
struct bl_graph {
    bl_backend *be;
    cudaGraphExec_t ops;
};

bl_status bl_cuda_event_new(bl_backend *be, bl_event **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_event *v = bl_new(1, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    v->be = be;
    BL_TRY(bl_cuda_status(be, cudaEventCreate(&v->at), "making an event", e));
    *out = v;
    v = NULL;
out:
    bl_free(v);
    return st;
}

void bl_cuda_event_free(bl_event *v)
{
    if (!v) return;
    cudaEventDestroy(v->at);
    bl_free(v);
}

bl_status bl_cuda_event_record(bl_backend *be, bl_event *v, bl_err *e)
{
    bl_cuda *c = be->own;
    bl_status st = bl_cuda_status(be, cudaEventRecord(v->at, c->now), "recording an event", e);
    v->recorded = st == BL_OK;
    return st;
}

bl_status bl_cuda_event_seconds(const bl_event *from, const bl_event *to, double *seconds, bl_err *e)
{
    bl_status st = BL_OK;
    float ms = 0;
    if (!from->recorded || !to->recorded) return bl_fail(e, BL_E_INTERNAL, "an event was not recorded");
    BL_TRY(bl_cuda_status(to->be, cudaEventSynchronize(to->at), "waiting for an event", e));
    BL_TRY(bl_cuda_status(to->be, cudaEventElapsedTime(&ms, from->at, to->at), "reading an event", e));
    *seconds = ms * 1e-3;
out:
    return st;
}

bl_status bl_cuda_event_wait(bl_backend *be, const bl_event *v, bl_err *e)
{
    bl_cuda *c = be->own;
    return v->recorded ? bl_cuda_status(be, cudaStreamWaitEvent(c->now, v->at, 0), "waiting for an event", e) : BL_OK;
}

bl_status bl_cuda_stream_new(bl_backend *be, bl_device_stream **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_device_stream *s = bl_new(1, sizeof *s, e);
    if (!s) return BL_E_NOMEM;
    s->be = be;
    BL_TRY(bl_cuda_status(be, cudaStreamCreateWithFlags(&s->s, cudaStreamNonBlocking), "making a stream", e));
    *out = s;
    s = NULL;
out:
    bl_free(s);
    return st;
}

void bl_cuda_stream_free(bl_device_stream *s)
{
    if (!s) return;
    bl_cuda *c = s->be->own;
    if (c->now == s->s) c->now = c->first;
    cudaStreamSynchronize(s->s);
    cudaStreamDestroy(s->s);
    bl_free(s);
}

bl_status bl_cuda_stream_use(bl_backend *be, bl_device_stream *s, bl_err *e)
{
    bl_cuda *c = be->own;
    if (c->capturing) return bl_fail(e, BL_E_INTERNAL, "streams change while a graph is recorded");
    c->now = s ? s->s : c->first;
    return BL_OK;
}

bl_status bl_cuda_graph_begin(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    BL_TRY(bl_cuda_blas(be, e)); /* opened here at the latest */
    BL_TRY(
        bl_cuda_status(be, cudaStreamBeginCapture(c->now, cudaStreamCaptureModeThreadLocal), "recording a graph", e));
    c->capturing = true;
out:
    return st;
}

bl_status bl_cuda_graph_end(bl_backend *be, bl_graph **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_graph *g = NULL;
    cudaGraph_t ops = NULL;
    c->capturing = false;
    BL_TRY(bl_cuda_status(be, cudaStreamEndCapture(c->now, &ops), "recording a graph", e));
    if (!(g = bl_new(1, sizeof *g, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    g->be = be;
    BL_TRY(bl_cuda_status(be, cudaGraphInstantiate(&g->ops, ops, 0), "making a graph", e));
    c->n_graphs++;
    *out = g;
    g = NULL;
out:
    if (ops) cudaGraphDestroy(ops);
    bl_free(g);
    return st;
}

bl_status bl_cuda_graph_replay(bl_backend *be, const bl_graph *g, bl_err *e)
{
    bl_cuda *c = be->own;
    return bl_cuda_status(be, cudaGraphLaunch(g->ops, c->now), "replaying a graph", e);
}

void bl_cuda_graph_free(bl_graph *g)
{
    if (!g) return;
    bl_cuda *c = g->be->own;
    cudaStreamSynchronize(c->first);
    cudaGraphExecDestroy(g->ops);
    c->n_graphs--;
    bl_free(g);
}
