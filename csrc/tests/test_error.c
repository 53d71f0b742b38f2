/* Names and sentences of results. */
#include <errno.h>

#include "check.h"

static void test_own_codes(void)
{
    static const struct {
        int code;
        const char *name, *text;
    } map[] = {
#define X(name, code, text) {CMSGR_E_##name, #name, text},
        CMSGR_ERROR_MAP(X)
#undef X
    };
    const int count = sizeof(map) / sizeof(map[0]);

    CHECK_EQ(CMSGR_E_BANNER, -10001);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(map[i].code, -10001 - i); /* no code is used twice, none is left out */
        CHECK_STR(cmsgr_error_name(map[i].code), map[i].name);
        CHECK_STR(cmsgr_error_text(map[i].code), map[i].text);
    }
    CHECK_STR(cmsgr_error_name(-10001 - count), "UNKNOWN");
    CHECK_STR(cmsgr_error_text(-10001 - count), "an unknown error");
}

static void test_codes_of_the_system(void)
{
    CHECK_STR(cmsgr_error_name(-ECONNRESET), "ECONNRESET");
    CHECK_STR(cmsgr_error_text(-ECONNRESET), "Connection reset by peer");
    CHECK_STR(cmsgr_error_name(-9999), "ERRNO");
    CHECK_STR(cmsgr_error_text(-9999), "an error of the system");
    CHECK_STR(cmsgr_error_name(-10000), "UNKNOWN");
    CHECK_STR(cmsgr_error_name(INT32_MIN), "UNKNOWN");
}

static void test_results_that_are_no_errors(void)
{
    CHECK_STR(cmsgr_error_name(0), "OK");
    CHECK_STR(cmsgr_error_name(17), "OK");
    CHECK_STR(cmsgr_error_text(0), "no error");
}

int main(void)
{
    test_own_codes();
    test_codes_of_the_system();
    test_results_that_are_no_errors();
    return 0;
}
