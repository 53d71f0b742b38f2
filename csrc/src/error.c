/* Names and sentences of results. Everything is a static string: no locale, no buffer, any thread. */
#include <string.h>

#include "cmsgr/cmsgr.h"

#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 32))
#define HAVE_STRERROR_NP 1
#endif

/* Codes of the system are above this; ours are below. */
enum { LOWEST_ERRNO = -10000 };

static const char *system_name(int error)
{
#ifdef HAVE_STRERROR_NP
    const char *name = strerrorname_np(error);

    if (name)
        return name;
#else
    (void)error;
#endif
    return "ERRNO";
}

static const char *system_text(int error)
{
#ifdef HAVE_STRERROR_NP
    const char *text = strerrordesc_np(error);

    if (text)
        return text;
#else
    (void)error;
#endif
    return "an error of the system";
}

const char *cmsgr_error_name(int code)
{
    switch (code) {
#define X(name, code, text) \
    case code:              \
        return #name;
        CMSGR_ERROR_MAP(X)
#undef X
    }
    if (code >= 0)
        return "OK";
    return code > LOWEST_ERRNO ? system_name(-code) : "UNKNOWN";
}

const char *cmsgr_error_text(int code)
{
    switch (code) {
#define X(name, code, text) \
    case code:              \
        return text;
        CMSGR_ERROR_MAP(X)
#undef X
    }
    if (code >= 0)
        return "no error";
    return code > LOWEST_ERRNO ? system_text(-code) : "an unknown error";
}
