/* Entries: one queued outgoing message each. */
#include "internal.h"

cmsgr_entry *cmsgr_entry_new(cmsgr_env *env)
{
    return cmsgr__zalloc(env, sizeof(cmsgr_entry));
}

void cmsgr_entry_free(cmsgr_env *env, cmsgr_entry *entry)
{
    cmsgr__free(env, entry);
}
