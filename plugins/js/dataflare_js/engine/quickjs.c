/* The small JavaScript engine: QuickJS-ng behind the exports of world.wit, as a core module without WASI.
 *
 * Lists cross as (pointer, length). What the host passes in was made by cabi_realloc and is freed here; what an
 * export answers with stays until its cabi_post. A list without bytes may have any pointer, which is never freed.
 */
#include <stdlib.h>
#include <string.h>
#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("dataflare:engine/host"), import_name(name)))
#define STACK (512 * 1024) /* of the 768 KiB that it is linked with */

typedef struct {
    uint8_t *at;
    size_t size;
} Bytes;

typedef struct {
    uint32_t failed;
    Bytes bytes;
} Result;

IMPORT("ask") void host_ask(const uint8_t *question, size_t size, Bytes *answer);
IMPORT("now") double host_now(void);
IMPORT("random") void host_random(size_t size, Bytes *answer);
IMPORT("log") void host_log(uint32_t level, const uint8_t *message, size_t size);

static JSRuntime *runtime;
static JSContext *context;
static JSValue module, host;
static JSValue held;      /* what `result` points into */
static const char *text;  /* or this */
static Result result;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old_size, (void)align;
    return realloc(old, size);
}

static void release(JSRuntime *rt, void *opaque, void *bytes) {
    (void)rt, (void)opaque;
    free(bytes);
}

/* An array over bytes that cabi_realloc made, which it owns from now on. */
static JSValue array_of(JSContext *ctx, Bytes given) {
    if (given.size == 0)
        return JS_NewUint8ArrayCopy(ctx, (const uint8_t *)"", 0);
    return JS_NewUint8Array(ctx, given.at, given.size, release, NULL, false);
}

static JSValue ask(JSContext *ctx, JSValueConst self, int count, JSValueConst *given) {
    size_t size;
    Bytes answer = {0};
    uint8_t *question = JS_GetUint8Array(ctx, &size, given[0]);
    if (!question)
        return JS_EXCEPTION;
    host_ask(question, size, &answer);
    return array_of(ctx, answer);
}

static JSValue now(JSContext *ctx, JSValueConst self, int count, JSValueConst *given) {
    return JS_NewFloat64(ctx, host_now());
}

static JSValue randomness(JSContext *ctx, JSValueConst self, int count, JSValueConst *given) {
    uint32_t size;
    Bytes answer = {0};
    if (JS_ToUint32(ctx, &size, given[0]))
        return JS_EXCEPTION;
    host_random(size, &answer);
    return array_of(ctx, answer);
}

static JSValue log_line(JSContext *ctx, JSValueConst self, int count, JSValueConst *given) {
    uint32_t level;
    size_t size;
    uint8_t *message = JS_GetUint8Array(ctx, &size, given[1]);
    if (!message || JS_ToUint32(ctx, &level, given[0]))
        return JS_EXCEPTION;
    host_log(level, message, size);
    return JS_UNDEFINED;
}

static JSValue decode(JSContext *ctx, JSValueConst self, int count, JSValueConst *given) {
    size_t size;
    uint8_t *bytes = JS_GetUint8Array(ctx, &size, given[0]);
    return bytes ? JS_NewStringLen(ctx, (const char *)bytes, size) : JS_EXCEPTION;
}

static JSValue encode(JSContext *ctx, JSValueConst self, int count, JSValueConst *given) {
    size_t size;
    const char *bytes = JS_ToCStringLen(ctx, &size, given[0]);
    if (!bytes)
        return JS_EXCEPTION;
    JSValue made = JS_NewUint8ArrayCopy(ctx, (const uint8_t *)bytes, size);
    JS_FreeCString(ctx, bytes);
    return made;
}

static int start(void) {
    static const struct {
        const char *name;
        JSCFunction *call;
        int count;
    } functions[] = {{"ask", ask, 1},       {"now", now, 0},       {"random", randomness, 1},
                     {"log", log_line, 2},  {"decode", decode, 1}, {"encode", encode, 1}};
    if (context)
        return 1;
    if (!(runtime = JS_NewRuntime()) || !(context = JS_NewContext(runtime)))
        return 0;
    JS_SetMaxStackSize(runtime, STACK);
    module = JS_NewObject(context);
    JS_SetPropertyStr(context, module, "exports", JS_NewObject(context));
    host = JS_NewObject(context);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        JS_SetPropertyStr(context, host, functions[i].name,
                          JS_NewCFunction(context, functions[i].call, functions[i].name, functions[i].count));
    return 1;
}

static Result *answer_text(const char *given, size_t size, uint32_t failed) {
    result = (Result){failed, {(uint8_t *)given, size}};
    return &result;
}

/* The error that was thrown: what it says, and where. */
static Result *thrown(void) {
    JSValue error = JS_GetException(context);
    JSValue stack = JS_IsError(error) ? JS_GetPropertyStr(context, error, "stack") : JS_UNDEFINED;
    JSValue parts = JS_NewArray(context);
    JS_SetPropertyUint32(context, parts, 0, JS_ToString(context, error));
    if (JS_IsString(stack))
        JS_SetPropertyUint32(context, parts, 1, JS_DupValue(context, stack));
    JSValue glue = JS_NewString(context, "\n");
    JSAtom join = JS_NewAtom(context, "join");
    JSValue joined = JS_Invoke(context, parts, join, 1, &glue);
    JS_FreeAtom(context, join);
    JS_FreeValue(context, glue);
    JS_FreeValue(context, parts);
    JS_FreeValue(context, stack);
    JS_FreeValue(context, error);
    size_t size;
    text = JS_ToCStringLen(context, &size, joined);
    JS_FreeValue(context, joined);
    if (text)
        return answer_text(text, size, 1);
    JS_FreeValue(context, JS_GetException(context));
    static const char untold[] = "an error that cannot be told";
    return answer_text(untold, sizeof untold - 1, 1);
}

static void forget(void) {
    if (text)
        JS_FreeCString(context, text);
    JS_FreeValue(context, held);
    text = NULL;
    held = JS_UNDEFINED;
}

/* Runs what is waiting until a promise is settled. Takes `given`, gives its value or an exception. */
static JSValue settled(JSValue given) {
    JSContext *own;
    if (!JS_IsPromise(given))
        return given;
    while (JS_PromiseState(context, given) == JS_PROMISE_PENDING) {
        int ran = JS_ExecutePendingJob(runtime, &own);
        if (ran < 0)
            JS_FreeValue(context, JS_GetException(own));
        if (ran == 0) {
            JS_FreeValue(context, given);
            return JS_ThrowTypeError(context, "the promise of `handle` never settles: nothing is left to run");
        }
    }
    JSPromiseStateEnum state = JS_PromiseState(context, given);
    JSValue value = JS_PromiseResult(context, given);
    JS_FreeValue(context, given);
    return state == JS_PROMISE_REJECTED ? JS_Throw(context, value) : value;
}

/* Evaluates a script whose value is a function, and calls it with (module, exports, host). */
EXPORT("load") Result *load(char *name, size_t name_size, char *script, size_t script_size) {
    if (!start())
        return answer_text("out of memory", 13, 1);
    char *file = strndup(name_size ? name : "", name_size);
    char *source = strndup(script_size ? script : "", script_size);
    JSValue made = file && source ? JS_Eval(context, source, script_size, file, JS_EVAL_TYPE_GLOBAL)
                                  : JS_ThrowOutOfMemory(context);
    free(file);
    free(source);
    if (name_size)
        free(name);
    if (script_size)
        free(script);
    if (JS_IsException(made))
        return thrown();
    JSValue given[] = {module, JS_GetPropertyStr(context, module, "exports"), host};
    JSValue value = JS_Call(context, made, JS_UNDEFINED, 3, given);
    JS_FreeValue(context, given[1]);
    JS_FreeValue(context, made);
    if (JS_IsException(value))
        return thrown();
    JS_FreeValue(context, value);
    return answer_text("", 0, 0);
}

/* What `module.exports.handle` answers to a request. */
EXPORT("invoke") Result *invoke(uint8_t *request, size_t size) {
    JSValue exports = JS_GetPropertyStr(context, module, "exports");
    JSAtom name = JS_NewAtom(context, "handle");
    JSValue asking = JS_GetPropertyStr(context, host, "ask");
    JSValue given[] = {array_of(context, (Bytes){request, size}), asking};
    JSValue value = settled(JS_Invoke(context, exports, name, 2, given));
    JS_FreeValue(context, given[0]);
    JS_FreeValue(context, asking);
    JS_FreeAtom(context, name);
    JS_FreeValue(context, exports);
    if (JS_IsException(value))
        return thrown();
    held = value;
    size_t length;
    uint8_t *bytes = JS_GetUint8Array(context, &length, value);
    if (!bytes) {
        JS_FreeValue(context, JS_GetException(context));
        JS_ThrowTypeError(context, "`handle` must return a Uint8Array or a promise of one");
        return thrown();
    }
    return answer_text((const char *)bytes, length, 0);
}

EXPORT("cabi_post_load") void after_load(Result *given) { forget(); }
EXPORT("cabi_post_invoke") void after_invoke(Result *given) { forget(); }

/* The C library would import these from WASI; a plugin has no files, and the clock is the host's. */
#define WASI(name) __imported_wasi_snapshot_preview1_##name
enum { BAD_DESCRIPTOR = 8 };

int32_t WASI(clock_time_get)(int32_t clock, int64_t precision, int32_t at) {
    uint64_t nanoseconds = (uint64_t)(host_now() * 1e6);
    memcpy((void *)at, &nanoseconds, sizeof nanoseconds);
    return 0;
}
int32_t WASI(fd_fdstat_get)(int32_t file, int32_t at) { return BAD_DESCRIPTOR; }
int32_t WASI(fd_seek)(int32_t file, int64_t offset, int32_t from, int32_t at) { return BAD_DESCRIPTOR; }
int32_t WASI(fd_write)(int32_t file, int32_t pieces, int32_t count, int32_t written) { return BAD_DESCRIPTOR; }
int __stdio_close(FILE *file) { return 0; }
