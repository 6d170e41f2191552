/* JSON lines to Arrow columns of known types, strictly.
 *
 * It reads the plain case alone: whatever it does not know for certain to be right (another type, an unknown key, a
 * key that stands twice, a number with more digits than fit) makes it give up the block, which the tolerant readers in
 * Python then read from the start. So it decides nothing: it is only faster where there is nothing to decide.
 *
 * Keys are looked for in the order of the columns first, since writers keep one. Numbers with up to 15 digits are made
 * by one exact operation (Clinger, "How to Read Floating Point Numbers Accurately", 1990), others by strtod. The result
 * is handed over by Arrow's C data interface.
 */
#define _GNU_SOURCE
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum kind { NOTHING, BOOLEAN, SIGNED, UNSIGNED, DOUBLE, TEXT, LIST, STRUCT };

/* A column as Python describes it, parents before children; `bits` is the width of a whole number. */
struct column {
    int32_t kind, bits, children, key_length;
    const uint8_t *key;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

struct bytes {
    uint8_t *at;
    int64_t room;
};

struct node {
    enum kind kind;
    int32_t bits, children, key_length;
    const uint8_t *key;
    struct node **child;
    int64_t length, nulls, used;
    struct bytes valid, values, text;
};

struct reader {
    const uint8_t *at, *end;
    int lenient; /* keys that are not asked for are passed over */
    locale_t plain;
};

enum { DEEPEST = 100, PADDING = 64 };
#define LARGEST_TEXT INT32_MAX

static int value(struct reader *r, struct node *n, int depth);

/* --- memory ---------------------------------------------------------------------------------------------------- */

static int reserve(struct bytes *b, int64_t size) {
    if (size + PADDING <= b->room)
        return 1;
    int64_t room = size + size / 2 + 4096;
    uint8_t *at = realloc(b->at, (size_t)room);
    if (!at)
        return 0;
    b->at = at;
    b->room = room;
    return 1;
}

static int set_bit(struct bytes *b, int64_t at, int on) {
    int64_t before = b->room;
    if (!reserve(b, at / 8 + 1))
        return 0;
    if (b->room > before)
        memset(b->at + before, 0, (size_t)(b->room - before));
    uint8_t mask = (uint8_t)(1u << (at & 7));
    if (on)
        b->at[at >> 3] |= mask;
    return 1;
}

/* A column has a validity map from its first null on. */
static int mark(struct node *n, int valid) {
    if (valid)
        return n->nulls ? set_bit(&n->valid, n->length, 1) : 1;
    if (!n->nulls++) {
        for (int64_t i = 0; i < n->length; i++)
            if (!set_bit(&n->valid, i, 1))
                return 0;
    }
    return set_bit(&n->valid, n->length, 0);
}

static int32_t *offsets(struct node *n) { return (int32_t *)n->values.at; }

static int append_null(struct node *n) {
    if (!mark(n, 0))
        return 0;
    switch (n->kind) {
    case NOTHING:
        break;
    case BOOLEAN:
        if (!set_bit(&n->values, n->length, 0))
            return 0;
        break;
    case SIGNED:
    case UNSIGNED:
    case DOUBLE: {
        int64_t width = n->bits / 8;
        if (!reserve(&n->values, (n->length + 1) * width))
            return 0;
        memset(n->values.at + n->length * width, 0, (size_t)width);
        break;
    }
    case TEXT:
    case LIST:
        if (!reserve(&n->values, (n->length + 2) * 4))
            return 0;
        offsets(n)[n->length + 1] = offsets(n)[n->length];
        break;
    case STRUCT:
        for (int i = 0; i < n->children; i++)
            if (!append_null(n->child[i]))
                return 0;
        break;
    }
    n->length++;
    return 1;
}

/* --- the text between the values ------------------------------------------------------------------------------- */

static inline void space(struct reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static inline int take(struct reader *r, uint8_t wanted) {
    if (r->at < r->end && *r->at == wanted) {
        r->at++;
        return 1;
    }
    return 0;
}

static int word(struct reader *r, const char *text, int length) {
    if (r->end - r->at < length || memcmp(r->at, text, (size_t)length))
        return 0;
    r->at += length;
    return 1;
}

static inline int starts_null(struct reader *r) { return r->at < r->end && *r->at == 'n'; }

/* Is this UTF-8, as RFC 3629 has it? */
static int is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        uint8_t c = *p++;
        if (c < 0x80)
            continue;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || end - p < more)
            return 0;
        uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (*p < low || *p > high)
            return 0;
        for (p++; --more; p++)
            if (*p < 0x80 || *p > 0xBF)
                return 0;
    }
    return 1;
}

/* The first byte from `p` on that is a quote, a backslash or a control character; `wide` if bytes above ASCII came. */
static inline const uint8_t *plain_until(const uint8_t *p, const uint8_t *end, int *wide) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1F);
    while (end - p >= 16) {
        __m128i sixteen = _mm_loadu_si128((const __m128i *)p);
        __m128i odd = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(sixteen, quote), _mm_cmpeq_epi8(sixteen, slash)),
                                   _mm_cmpeq_epi8(_mm_min_epu8(sixteen, control), sixteen));
        unsigned found = (unsigned)_mm_movemask_epi8(odd), high = (unsigned)_mm_movemask_epi8(sixteen);
        if (found) {
            int at = __builtin_ctz(found);
            *wide |= (high & ((1u << at) - 1)) != 0;
            return p + at;
        }
        *wide |= high != 0;
        p += 16;
    }
#endif
    for (; p < end && *p != '"' && *p != '\\' && *p >= 0x20; p++)
        *wide |= *p >= 0x80;
    return p;
}

static int hex4(const uint8_t *p, unsigned *found) {
    unsigned got = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        unsigned digit = c >= '0' && c <= '9'   ? c - '0' + 0u
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10u
                         : c >= 'A' && c <= 'F' ? c - 'A' + 10u
                                                : 99u;
        if (digit == 99u)
            return 0;
        got = got * 16 + digit;
    }
    *found = got;
    return 1;
}

/* The character of an escape behind its backslash, as UTF-8; its length, 0 where it is none or the half of a pair. */
static int escape(struct reader *r, uint8_t *out) {
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (r->at >= r->end)
        return 0;
    uint8_t c = *r->at++;
    const char *found = c ? strchr(names, c) : NULL;
    if (found) {
        *out = (uint8_t)meant[found - names];
        return 1;
    }
    unsigned code, low;
    if (c != 'u' || r->end - r->at < 4 || !hex4(r->at, &code) || !code)
        return 0;
    r->at += 4;
    if (code >= 0xDC00 && code <= 0xDFFF)
        return 0;
    if (code >= 0xD800 && code <= 0xDBFF) {
        if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u' || !hex4(r->at + 2, &low) || low < 0xDC00 ||
            low > 0xDFFF)
            return 0;
        r->at += 6;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

/* --- what is passed over: checked like the rest ------------------------------------------------------------------ */

static int skip_text(struct reader *r) {
    uint8_t character[4];
    for (;;) {
        int wide = 0;
        const uint8_t *start = r->at, *stop = plain_until(start, r->end, &wide);
        if (stop >= r->end || *stop < 0x20 || (wide && !is_utf8(start, stop)))
            return 0;
        r->at = stop + 1;
        if (*stop == '"')
            return 1;
        if (!escape(r, character))
            return 0;
    }
}

/* The end of the number that starts at `p`, NULL where none does; `*whole` unless it has a fraction or an exponent. */
static const uint8_t *number_end(const uint8_t *p, const uint8_t *end, int *whole) {
    if (p < end && *p == '-')
        p++;
    if (p >= end || *p < '0' || *p > '9')
        return NULL;
    if (*p++ == '0') {
        if (p < end && *p >= '0' && *p <= '9')
            return NULL;
    } else
        while (p < end && *p >= '0' && *p <= '9')
            p++;
    *whole = 1;
    if (p < end && *p == '.') {
        *whole = 0;
        const uint8_t *first = ++p;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (p == first)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        *whole = 0;
        if (++p < end && (*p == '+' || *p == '-'))
            p++;
        const uint8_t *first = p;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (p == first)
            return NULL;
    }
    return p;
}

static int skip(struct reader *r, int depth) {
    if (depth > DEEPEST || r->at >= r->end)
        return 0;
    int whole;
    switch (*r->at) {
    case '"':
        r->at++;
        return skip_text(r);
    case 't':
        return word(r, "true", 4);
    case 'f':
        return word(r, "false", 5);
    case 'n':
        return word(r, "null", 4);
    case '{':
    case '[': {
        uint8_t close = *r->at == '{' ? '}' : ']';
        r->at++;
        space(r);
        if (take(r, close))
            return 1;
        do {
            space(r);
            if (close == '}') {
                if (!take(r, '"') || !skip_text(r))
                    return 0;
                space(r);
                if (!take(r, ':'))
                    return 0;
                space(r);
            }
            if (!skip(r, depth + 1))
                return 0;
            space(r);
        } while (take(r, ','));
        return take(r, close);
    }
    default: {
        const uint8_t *end = number_end(r->at, r->end, &whole);
        if (!end)
            return 0;
        r->at = end;
        return 1;
    }
    }
}

/* --- values ---------------------------------------------------------------------------------------------------- */

static int whole_number(struct reader *r, struct node *n) {
    const uint8_t *p = r->at;
    int minus = p < r->end && *p == '-';
    const uint8_t *first = p += minus;
    uint64_t got = 0;
    while (p < r->end && (uint8_t)(*p - '0') <= 9)
        got = got * 10 + (uint8_t)(*p++ - '0');
    if (p == first || p - first > 18 || (*first == '0' && (p - first > 1 || minus)))
        return 0;
    if (p < r->end && (*p == '.' || *p == 'e' || *p == 'E'))
        return 0;
    if (n->kind == UNSIGNED ? minus || (n->bits < 64 && got >> n->bits)
                            : n->bits < 64 && got >= (1ull << (n->bits - 1)) + (uint64_t)minus)
        return 0;
    int64_t width = n->bits / 8;
    if (!mark(n, 1) || !reserve(&n->values, (n->length + 1) * width))
        return 0;
    uint8_t *to = n->values.at + n->length++ * width;
    int64_t signed_ = minus ? -(int64_t)got : (int64_t)got;
    switch (n->bits) {
    case 8:
        *(int8_t *)to = (int8_t)signed_;
        break;
    case 16:
        *(int16_t *)to = (int16_t)signed_;
        break;
    case 32:
        *(int32_t *)to = (int32_t)signed_;
        break;
    default:
        *(int64_t *)to = signed_;
    }
    r->at = p;
    return 1;
}

static int long_number(const uint8_t *p, const uint8_t *end, locale_t plain, double *found) {
    char text[64], *stop;
    if (end - p >= (long)sizeof text)
        return 0;
    memcpy(text, p, (size_t)(end - p));
    text[end - p] = 0;
    *found = strtod_l(text, &stop, plain);
    return stop == text + (end - p) && *found - *found == 0; /* finite */
}

static int floating_number(struct reader *r, struct node *n) {
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const uint8_t *start = r->at, *p = start;
    int minus = p < r->end && *p == '-';
    const uint8_t *first = p += minus;
    uint64_t digits = 0;
    double found;
    while (p < r->end && (uint8_t)(*p - '0') <= 9)
        digits = digits * 10 + (uint8_t)(*p++ - '0');
    long before = p - first, behind = 0;
    if (!before || (*first == '0' && before > 1))
        return 0;
    if (p < r->end && *p == '.') {
        const uint8_t *point = ++p;
        while (p < r->end && (uint8_t)(*p - '0') <= 9)
            digits = digits * 10 + (uint8_t)(*p++ - '0');
        behind = p - point;
        if (!behind)
            return 0;
    }
    if ((p < r->end && (*p == 'e' || *p == 'E')) || before + behind > 15) {
        int whole;
        p = number_end(start, r->end, &whole);
        if (!p || !long_number(start, p, r->plain, &found))
            return 0;
    } else {
        if (minus && !digits && !behind)
            return 0; /* "-0" is a whole number, which has no sign at zero */
        found = (double)digits / tens[behind];
        if (minus)
            found = -found;
    }
    if (!mark(n, 1) || !reserve(&n->values, (n->length + 1) * 8))
        return 0;
    ((double *)n->values.at)[n->length++] = found;
    r->at = p;
    return 1;
}

static int boolean(struct reader *r, struct node *n) {
    int on = *r->at == 't';
    if (!(on ? word(r, "true", 4) : word(r, "false", 5)))
        return 0;
    if (!mark(n, 1) || !set_bit(&n->values, n->length, on))
        return 0;
    n->length++;
    return 1;
}

static int text(struct reader *r, struct node *n) {
    if (!take(r, '"'))
        return 0;
    int64_t used = n->used;
    for (;;) {
        int wide = 0;
        const uint8_t *start = r->at, *stop = plain_until(start, r->end, &wide);
        if (stop >= r->end || *stop < 0x20 || (wide && !is_utf8(start, stop)))
            return 0;
        int64_t size = stop - start;
        if (!reserve(&n->text, used + size + 4))
            return 0;
        memcpy(n->text.at + used, start, (size_t)size);
        used += size;
        r->at = stop + 1;
        if (*stop == '"')
            break;
        int length = escape(r, n->text.at + used);
        if (!length)
            return 0;
        used += length;
    }
    if (used > LARGEST_TEXT || !mark(n, 1) || !reserve(&n->values, (n->length + 2) * 4))
        return 0;
    n->used = used;
    offsets(n)[++n->length] = (int32_t)used;
    return 1;
}

static int list(struct reader *r, struct node *n, int depth) {
    if (!take(r, '['))
        return 0;
    space(r);
    if (!take(r, ']')) {
        do {
            space(r);
            if (!value(r, n->child[0], depth + 1))
                return 0;
            space(r);
        } while (take(r, ','));
        if (!take(r, ']'))
            return 0;
    }
    if (n->child[0]->length > INT32_MAX || !mark(n, 1) || !reserve(&n->values, (n->length + 2) * 4))
        return 0;
    offsets(n)[++n->length] = (int32_t)n->child[0]->length;
    return 1;
}

/* The column of the key at hand, which is then behind the reader; NULL with `*ok` for one that is not asked for. */
static struct node *key(struct reader *r, struct node *n, int expected, int *ok) {
    *ok = 1;
    if (expected < n->children) {
        struct node *child = n->child[expected];
        if (r->end - r->at > child->key_length && !memcmp(r->at, child->key, (size_t)child->key_length) &&
            r->at[child->key_length] == '"') {
            r->at += child->key_length + 1;
            return child;
        }
    }
    const uint8_t *start = r->at;
    int wide = 0;
    const uint8_t *stop = plain_until(start, r->end, &wide);
    *ok = stop < r->end && *stop == '"' && (!wide || is_utf8(start, stop));
    if (!*ok)
        return NULL;
    r->at = stop + 1;
    for (int i = 0; i < n->children; i++)
        if (n->child[i]->key_length == stop - start && !memcmp(start, n->child[i]->key, (size_t)(stop - start)))
            return n->child[i];
    return NULL;
}

static int object(struct reader *r, struct node *n, int depth) {
    if (!take(r, '{'))
        return 0;
    int seen = 0, ok;
    do {
        space(r);
        if (!take(r, '"'))
            return 0;
        struct node *child = key(r, n, seen, &ok);
        if (!ok || (!child && !r->lenient))
            return 0;
        space(r);
        if (!take(r, ':'))
            return 0;
        space(r);
        if (!child) {
            if (!skip(r, depth + 1))
                return 0;
        } else {
            if (child->length != n->length || !value(r, child, depth + 1))
                return 0;
            seen++;
        }
        space(r);
    } while (take(r, ','));
    if (!take(r, '}') || !seen)
        return 0;
    for (int i = 0; seen < n->children && i < n->children; i++)
        if (n->child[i]->length == n->length) {
            if (!append_null(n->child[i]))
                return 0;
            seen++;
        }
    if (!mark(n, 1))
        return 0;
    n->length++;
    return 1;
}

static int value(struct reader *r, struct node *n, int depth) {
    if (depth > DEEPEST || r->at >= r->end)
        return 0;
    if (starts_null(r))
        return word(r, "null", 4) && append_null(n);
    switch (n->kind) {
    case BOOLEAN:
        return boolean(r, n);
    case SIGNED:
    case UNSIGNED:
        return whole_number(r, n);
    case DOUBLE:
        return floating_number(r, n);
    case TEXT:
        return text(r, n);
    case LIST:
        return list(r, n, depth);
    case STRUCT:
        return object(r, n, depth);
    default:
        return 0;
    }
}

/* --- the columns ----------------------------------------------------------------------------------------------- */

static void let_go(struct node *n) {
    if (!n)
        return;
    for (int i = 0; n->child && i < n->children; i++)
        let_go(n->child[i]);
    free(n->child);
    free(n->valid.at);
    free(n->values.at);
    free(n->text.at);
    free(n);
}

static struct node *grown(const struct column **given) {
    const struct column *column = (*given)++;
    struct node *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->kind = (enum kind)column->kind;
    n->bits = column->bits;
    n->key = column->key;
    n->key_length = column->key_length;
    n->children = column->children;
    n->child = calloc((size_t)column->children + 1, sizeof *n->child);
    int offsets_first = n->kind == TEXT || n->kind == LIST;
    if (!n->child || (offsets_first && !reserve(&n->values, 4))) {
        n->children = 0;
        let_go(n);
        return NULL;
    }
    if (offsets_first)
        offsets(n)[0] = 0;
    for (int i = 0; i < n->children; i++)
        if (!(n->child[i] = grown(given))) {
            let_go(n);
            return NULL;
        }
    return n;
}

static void release(struct ArrowArray *array) {
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    for (int64_t i = 0; i < array->n_buffers; i++)
        free((void *)array->buffers[i]);
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

/* Hand the memory of a column over. Nothing of it is freed where there is no memory for this: it is the caller's. */
static int hand_over(struct node *n, struct ArrowArray *to) {
    memset(to, 0, sizeof *to);
    to->buffers = calloc(3, sizeof *to->buffers);
    to->children = calloc((size_t)n->children + 1, sizeof *to->children);
    to->release = release;
    if (!to->buffers || !to->children)
        return 0;
    for (int i = 0; i < n->children; i++) {
        if (!(to->children[i] = calloc(1, sizeof **to->children)))
            return 0;
        to->n_children++;
        if (!hand_over(n->child[i], to->children[i]))
            return 0;
    }
    to->length = n->length;
    to->null_count = n->kind == NOTHING ? n->length : n->nulls;
    to->n_buffers = n->kind == NOTHING ? 0 : n->kind == STRUCT ? 1 : n->kind == TEXT ? 3 : 2;
    if (n->kind == NOTHING)
        return 1;
    if (n->kind != STRUCT && !reserve(&n->values, 0))
        return 0;
    if (n->kind == TEXT && !reserve(&n->text, 0))
        return 0;
    struct bytes *parts[] = {&n->valid, &n->values, &n->text};
    for (int i = 0; i < to->n_buffers; i++) {
        to->buffers[i] = parts[i]->at;
        parts[i]->at = NULL;
    }
    return 1;
}

/* The rows of `size` bytes of whole lines into `out`: 1. Where something is odd, or memory is short: 0, and nothing is
 * held. The first column is the row itself: a struct of all the others. */
int dataflare_json_lines(const uint8_t *data, int64_t size, const struct column *columns, int lenient,
                         struct ArrowArray *out) {
    const struct column *given = columns;
    struct node *root = size > INT32_MAX ? NULL : grown(&given);
    locale_t plain = root ? newlocale(LC_ALL_MASK, "C", (locale_t)0) : (locale_t)0;
    struct reader r = {data, data + size, lenient, plain};
    int fine = root && plain;
    while (fine && r.at < r.end) {
        space(&r);
        if (take(&r, '\n') || r.at >= r.end)
            continue;
        fine = object(&r, root, 0);
        space(&r);
        fine = fine && (r.at >= r.end || take(&r, '\n'));
    }
    if (plain)
        freelocale(plain);
    if (fine && !hand_over(root, out)) {
        release(out);
        fine = 0;
    }
    let_go(root);
    return fine;
}
