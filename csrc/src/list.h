/* A doubly linked list of nodes that live in their owners; a node that is in no list points to itself. */
#ifndef CMSGR_LIST_H
#define CMSGR_LIST_H

#include <stddef.h>

typedef struct cmsgr__link {
    struct cmsgr__link *prev, *next;
} cmsgr__link;

#define CMSGR__OWNER(link, type, member) ((type *)((char *)(link) - offsetof(type, member)))

static inline void cmsgr__list_init(cmsgr__link *link) { link->prev = link->next = link; }
static inline int cmsgr__list_empty(const cmsgr__link *link) { return link->next == link; }

/* Appends at the end; a node that is in a list already stays where it is. */
static inline void cmsgr__list_add(cmsgr__link *list, cmsgr__link *node)
{
    if (!cmsgr__list_empty(node))
        return;
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void cmsgr__list_del(cmsgr__link *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    cmsgr__list_init(node);
}

static inline cmsgr__link *cmsgr__list_pop(cmsgr__link *list)
{
    cmsgr__link *node = list->next;

    if (node == list)
        return NULL;
    cmsgr__list_del(node);
    return node;
}

/* All nodes of `from` go to the (empty) list `to`, so that a walk is not disturbed by nodes that come back. */
static inline void cmsgr__list_take(cmsgr__link *to, cmsgr__link *from)
{
    cmsgr__list_init(to);
    if (cmsgr__list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    cmsgr__list_init(from);
}

#endif
