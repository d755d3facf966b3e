// The step loop and the event form of spiking.torch, for one CPU core: a network at a time, whose state stays in the
// cache for a whole stretch of steps. Compiled by spiking.torch.native, which fills in what stands in double braces:
// the declared code of neuron and rule. The order of operations in a step is that of spiking.brian.equations.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef {{REAL}} R;

struct Arguments {
    {{FIELDS}}
};

template <class T> static inline T power(T x, T p) { return p == T(2) ? x * x : std::pow(x, p); }
template <class T> static inline T exp_(T x) { return std::exp(x); }
template <class T> static inline T abs_(T x) { return std::fabs(x); }
template <class T> static inline T modulo(T x, T y) { T r = std::fmod(x, y); return r != 0 && (r < 0) != (y < 0) ? r + y : r; }
template <class T> static inline T sqrt_(T x) { return std::sqrt(x); }
template <class T> static inline T log_(T x) { return std::log(x); }
template <class T> static inline T tanh_(T x) { return std::tanh(x); }
template <class T> static inline T sin_(T x) { return std::sin(x); }
template <class T> static inline T cos_(T x) { return std::cos(x); }
template <class T> static inline T floor_(T x) { return std::floor(x); }
template <class T> static inline T clip_(T x, T low, T high) { return x < low ? low : x > high ? high : x; }
template <class T> static inline T int_(T x) { return std::trunc(x); }
template <class T> static inline T single_(T x) { return T(float(x)); }

struct Spike {
    int64_t step, unit;
};

struct Event {
    int64_t step, line;
};

// Rows of numbers that the loops over neurons work on.
struct Scratch {
    std::vector<R> factor, signal, now, late, rows, fresh;
    std::vector<std::vector<R>> remembered;
    std::vector<Spike> spikes;
    std::vector<Event> events, recurrent;
};

// The plastic synapses of one projection of one network.
struct Synapses {
    int64_t lines;
    const int64_t *start, *post;  // of line j: start[j] ... start[j + 1]; post counts through the batch
    int64_t offset;               // of the network's first neuron in that count
    R *w, *el, *el_flt, *el_sum, *trace, *psp;
    uint8_t *pending;  // (alignment, lines)
    R growth;

    int64_t first() const { return start[0]; }
    int64_t end() const { return start[lines]; }
};

// Trace and psp at the start of step `end`, from the events before it.
static void presynaptic(const Arguments &a, const Synapses &s, const std::vector<Event> &events, int64_t end,
                        const double *M, R *trace, R *psp) {
    for (int64_t j = 0; j < s.lines; ++j) {
        const R before = s.trace[j];
        trace[j] = R(M[0]) * before;
        psp[j] = R(M[2]) * before + R(M[3]) * s.psp[j];
    }
    for (const Event &event : events) {
        if (event.step >= end) break;
        trace[event.line] += R(a.since[2 * (end - 1 - event.step)]);
        psp[event.line] += R(a.since[2 * (end - 1 - event.step) + 1]);
    }
}

// Add a row of H at the synapses of an input.
static inline void gather(const Synapses &s, int64_t line, const R *H, R *to) {
    for (int64_t q = s.start[line]; q < s.start[line + 1]; ++q) to[q - s.first()] += H[s.post[q] - s.offset];
}

// The event form (spiking.torch.plasticity.event_form) of one projection.
static void learn(const Arguments &a, const Synapses &s, const std::vector<Event> &arrived, const R *factor,
                  const R *signal, Scratch &scratch) {
    const int64_t T = a.steps, exc = a.exc, count = s.end() - s.first();
    std::vector<Event> &events = scratch.events;
    events.clear();
    for (int64_t step = 0; step < a.alignment; ++step)
        for (int64_t line = 0; line < s.lines; ++line)
            if (s.pending[step * s.lines + line]) events.push_back({step, line});
    std::fill(s.pending, s.pending + a.alignment * s.lines, 0);
    for (const Event &event : arrived) {
        if (s.growth != R(0))
            for (int64_t q = s.start[event.line]; q < s.start[event.line + 1]; ++q) s.el_sum[q] += s.growth;
        events.push_back({event.step + a.alignment, event.line});
    }
    while (!events.empty() && events.back().step >= T) {
        s.pending[(events.back().step - T) * s.lines + events.back().line] = 1;
        events.pop_back();
    }

    const R ka = R(a.coefficients[0]), kb = R(a.coefficients[1]), kr = R(a.coefficients[2]), km = R(a.coefficients[3]);
    const R kept_f = R(1 - a.coefficients[3]), kept_p = R(1 - a.coefficients[1]);
    const int64_t tail = std::max<int64_t>(0, T - a.memory);
    scratch.rows.assign(11 * exc, R(0));
    R *__restrict gf = scratch.rows.data(), *__restrict ge = gf + exc, *__restrict gt = ge + exc,
                 *__restrict gp = gt + exc, *__restrict H = gp + exc, *__restrict t1 = H + exc,
                 *__restrict p1 = t1 + exc, *__restrict H1 = p1 + exc, *__restrict t2 = H1 + exc,
                 *__restrict p2 = t2 + exc, *__restrict H2 = p2 + exc;
    scratch.fresh.assign(3 * count + 2 * s.lines, R(0));
    R *total = scratch.fresh.data(), *el = total + count, *el_flt = el + count;
    R *trace = el_flt + count, *psp = trace + s.lines;
    int64_t at = int64_t(events.size()) - 1;
    for (int64_t n = T - 1; n >= 0; --n) {
        const R *__restrict f = factor + n * exc, *__restrict e = signal + n * exc;
#pragma GCC ivdep
        for (int64_t i = 0; i < exc; ++i) {
            gf[i] = kept_f * gf[i] + e[i];
            ge[i] = km * gf[i] + kr * ge[i];
            H[i] = ka * gt[i];
            gt[i] = ka * gt[i] + kb * gp[i];
            gp[i] = kept_p * gp[i] + f[i] * ge[i];
        }
        if (n >= tail) {
            const R k1 = R(a.kernels[2 * n]), k2 = R(a.kernels[2 * n + 1]);
#pragma GCC ivdep
            for (int64_t i = 0; i < exc; ++i) {
                H1[i] = ka * t1[i];
                t1[i] = ka * t1[i] + kb * p1[i];
                p1[i] = kept_p * p1[i] + f[i] * k1;
                H2[i] = ka * t2[i];
                t2[i] = ka * t2[i] + kb * p2[i];
                p2[i] = kept_p * p2[i] + f[i] * k2;
            }
        }
        for (; at >= 0 && events[at].step == n; --at) {
            gather(s, events[at].line, H, total);
            if (n >= tail) {
                gather(s, events[at].line, H1, el);
                gather(s, events[at].line, H2, el_flt);
            }
        }
    }
    presynaptic(a, s, events, tail, a.powers, trace, psp);
    const double *M = a.powers + 8;
    for (int64_t line = 0; line < s.lines; ++line)
        for (int64_t q = s.start[line]; q < s.start[line + 1]; ++q) {
            const int64_t i = s.post[q] - s.offset, c = q - s.first();
            s.el_sum[q] += total[c] + s.trace[line] * gt[i] + s.psp[line] * gp[i] + s.el[q] * ge[i] +
                           s.el_flt[q] * kept_f * gf[i];
            const R before = s.el[q];
            s.el[q] = el[c] + trace[line] * t1[i] + psp[line] * p1[i] + R(M[0]) * before;
            s.el_flt[q] = el_flt[c] + trace[line] * t2[i] + psp[line] * p2[i] + R(M[2]) * before + R(M[3]) * s.el_flt[q];
        }
    presynaptic(a, s, events, T, a.powers + 4, trace, psp);
    std::copy(trace, trace + s.lines, s.trace);
    std::copy(psp, psp + s.lines, s.psp);
}

// One network through all steps; returns the number of its spikes, which it writes from `out` on.
static int64_t advance_network(const Arguments &a, int64_t k, Scratch &scratch) {
    const int64_t T = a.steps, exc = a.exc, inh = a.inh, N = exc + inh, past = a.history;
    {{CONSTANTS}}
    {{STATE}}
    R *__restrict x = a.x + k * exc, *__restrict y = a.y + k * inh, *inhibition = a.inhibition + k * inh * N;
    R *__restrict tr_err = a.tr_err + k * exc, *__restrict tr_err_flt = a.tr_err_flt + k * exc;
    const R *zeta = a.zeta + k * inh * exc, *exc_to_inh = a.exc_to_inh + k * exc * inh;
    const R target = a.target[k], w_min = a.w_min[k], w_max = a.w_max[k], fade = R(a.fade);
    const R rise = R(a.rise), decay = R(a.decay);
    const bool plastic = a.plastic[k];
    const Synapses ext = {a.lines, a.ext_start + k * a.lines, a.ext_post, k * exc, a.ext_w, a.ext_el, a.ext_el_flt,
                          a.ext_el_sum, a.ext_trace + k * a.lines, a.ext_psp + k * a.lines,
                          a.ext_pending + k * a.alignment * a.lines, a.growth[k]};
    const Synapses ee = {exc, a.ee_start + k * exc, a.ee_post, k * exc, a.ee_w, a.ee_el, a.ee_el_flt, a.ee_el_sum,
                         a.ee_trace + k * exc, a.ee_psp + k * exc, a.ee_pending + k * a.alignment * exc, a.growth[k]};
    const bool recurrent = ee.end() > ee.first();

    scratch.factor.resize((a.alignment + T) * exc);
    scratch.signal.resize(T * exc);
    std::copy(a.factor + k * a.alignment * exc, a.factor + (k + 1) * a.alignment * exc, scratch.factor.begin());
    R *factor = scratch.factor.data(), *signal = scratch.signal.data();

    std::vector<Spike> &spikes = scratch.spikes;
    spikes.clear();
    uint8_t *remembered = a.spikes + k * past * N;
    for (int64_t step = 0; step < past; ++step)
        for (int64_t i = 0; i < N; ++i)
            if (remembered[step * N + i]) spikes.push_back({step - past, i});
    const size_t old = spikes.size();
    scratch.now.assign(N, R(0));
    R *__restrict s_now = scratch.now.data();
    std::vector<size_t> head(a.delays + 1, 0), tail(a.delays + 1, 0);  // spikes that are `delay` steps old
    scratch.remembered.assign(a.delays, std::vector<R>(N, R(0)));
    std::vector<Event> arrived;
    scratch.recurrent.clear();
    const Event *event = reinterpret_cast<const Event *>(a.events) + a.event_start[k];
    const Event *last = reinterpret_cast<const Event *>(a.events) + a.event_start[k + 1];
    arrived.assign(event, last);

    for (int64_t n = 0; n < T; ++n) {
        // neurons
        int32_t any = 0;
#pragma GCC ivdep
        for (int64_t i = 0; i < N; ++i) {
            {{LOAD_NEURON}}
            {{STEP}}
            {{THRESHOLD}}
            {{BEFORE_RESET}}
            {{RESET}}
            {{STORE_NEURON}}
            s_now[i] = v_spiked;
            any |= v_spiked > R(0);
        }
        if (any)
            for (int64_t i = 0; i < N; ++i)
                if (s_now[i] > R(0)) spikes.push_back({n, i});
        for (int64_t d = 0; d <= a.delays; ++d) {  // the last of them is the axonal delay
            const int64_t then = n - (d < a.delays ? a.delay_steps[d] : a.axonal_delay);
            if (d < a.delays)
                for (size_t q = head[d]; q < tail[d]; ++q) scratch.remembered[d][spikes[q].unit] = R(0);
            head[d] = tail[d];
            while (head[d] < spikes.size() && spikes[head[d]].step < then) ++head[d];
            tail[d] = head[d];
            while (tail[d] < spikes.size() && spikes[tail[d]].step == then) {
                if (d < a.delays) scratch.remembered[d][spikes[tail[d]].unit] = R(1);
                ++tail[d];
            }
        }
        // what arrives
        for (; event < last && event->step == n; ++event)
            for (int64_t q = ext.start[event->line]; q < ext.start[event->line + 1]; ++q)
                g_ampa[ext.post[q] - ext.offset] += ext.w[q];
        const size_t from = head[a.delays], to = tail[a.delays];
        for (size_t q = from; q < to; ++q) {
            const int64_t j = spikes[q].unit;
            if (j < exc) {
                for (int64_t i = 0; i < inh; ++i) g_ampa[exc + i] += exc_to_inh[j * inh + i];
                if (recurrent) {
                    scratch.recurrent.push_back({n, j});
                    for (int64_t c = ee.start[j]; c < ee.start[j + 1]; ++c) g_ampa[ee.post[c] - ee.offset] += ee.w[c];
                }
                continue;
            }
            R *__restrict w = inhibition + (j - exc) * N;
            const R *__restrict learns = zeta + (j - exc) * exc;
            for (int64_t i = 0; i < N; ++i) g_gaba[i] += w[i];
            if (plastic)
                for (int64_t i = 0; i < exc; ++i) {
                    const R fallen = w[i] + learns[i] * (x[i] - target);
                    w[i] = fallen < w_min ? w_min : fallen;
                }
        }
        if (plastic && any)
            for (int64_t i = 0; i < exc; ++i)
                if (s_now[i] > R(0))
                    for (int64_t j = 0; j < inh; ++j)
                        inhibition[j * N + i] = std::min(inhibition[j * N + i] + zeta[j * exc + i] * y[j], w_max);
        // signal
        R *__restrict f = factor + (a.alignment + n) * exc, *__restrict e = signal + n * exc;
#pragma GCC ivdep
        for (int64_t i = 0; i < exc; ++i) {
            const R v_u = U[i];
            {{FACTOR}}
            f[i] = v__factor;
        }
        {{REMEMBERED}}
#pragma GCC ivdep
        for (int64_t i = 0; i < exc; ++i) {
            const R v_s_now = s_now[i];
            {{LOAD_SIGNAL}}
            {{LOAD_VARIABLES}}
            {{ERROR}}
            e[i] = tr_err_flt[i];
            tr_err[i] += rise * (v__error - tr_err[i]);
            tr_err_flt[i] += decay * (tr_err[i] - tr_err_flt[i]);
        }
#pragma GCC ivdep
        for (int64_t i = 0; i < exc; ++i) {
            const {{TRACE_KIND}} v_s_now = s_now[i];
            {{LOAD_TRACES}}
            {{TRACES}}
            {{STORE_TRACES}}
        }
        for (int64_t i = 0; i < exc; ++i) x[i] = (x[i] + s_now[i]) * fade;
        for (size_t q = from; q < to; ++q)
            if (spikes[q].unit >= exc) y[spikes[q].unit - exc] += R(1);
        for (int64_t j = 0; j < inh; ++j) y[j] *= fade;
        if (a.clamp)
            for (int64_t i = 0; i < exc; ++i) U[i] = a.clamp[k * T + n];
    }

    learn(a, ext, arrived, factor, signal, scratch);
    if (recurrent) learn(a, ee, scratch.recurrent, factor, signal, scratch);
    std::copy(factor + T * exc, factor + (a.alignment + T) * exc, a.factor + k * a.alignment * exc);
    std::fill(remembered, remembered + past * N, 0);
    for (size_t q = spikes.size(); q-- > 0 && spikes[q].step >= T - past;)
        remembered[(spikes[q].step - T + past) * N + spikes[q].unit] = 1;
    int64_t *out = a.out + 2 * k * a.capacity;
    for (size_t q = old; q < spikes.size(); ++q) {
        *out++ = spikes[q].step;
        *out++ = spikes[q].unit;
    }
    return int64_t(spikes.size() - old);
}

extern "C" void advance(const Arguments *a, int64_t first, int64_t end) {
#if defined(__SSE2__)
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // numbers that are almost 0 are 0: traces of silent neurons would crawl otherwise
#endif
    Scratch scratch;
    for (int64_t k = first; k < end; ++k) a->counts[k] = advance_network(*a, k, scratch);
#if defined(__SSE2__)
    _mm_setcsr(before);
#endif
}
