/* chat.h - how a model is asked that was trained on conversations: what stands around a message of the user.
 *
 *     bl_tokenizer *t;
 *     const bl_chat *c;
 *     BL_TRY(bl_tokenizer_open(BL_TOK_JSON, "tokenizer.json", &t, e));
 *     BL_TRY(bl_tokenizer_chat(t, &c, e));
 *     printf("%s%s%s", c->before, "Q: How many?", c->after);       // here the model goes on
 *
 * The templates of the LLaMA, Mistral, Qwen and SmolLM2 families are built in; nothing is executed. Which one it is,
 * the text of the checkpoint's own template says, by its hash: it is one that was rendered and compared
 * (tests/unit/tokenizer_chat.c), to the letter; or, where a checkpoint has none, its tokens.
 */
#ifndef BL_HARNESS_TOKENIZER_CHAT_H
#define BL_HARNESS_TOKENIZER_CHAT_H
#include "tokenizer.h"

typedef struct bl_chat {
    const char *name;
    const char *before, *after; /* template text in front of a conversation's one message, and after it; a BOS is the
                                   tokenizer's own matter */
    const char *reply, *again;  /* in front of what was replied before, and from there to another message */
    bool strip, strip_reply;    /* a message, a reply before it, lose the white space at their ends */
    /* In place of `before`, in front of a message of the system, and from there to the first message. NULL: it has no
     * place; the template leaves it out or refuses, and then lm-evaluation-harness leaves it out. */
    const char *system, *system_end;
    enum {
        BL_CHAT_SYSTEM_APART,
        BL_CHAT_SYSTEM_STRIPPED, /* and without the white space at its ends */
        BL_CHAT_SYSTEM_BEGINS, /* both come after `before`: the first message begins with it, and is stripped as one */
        BL_CHAT_SYSTEM_LAST    /* it opens the last message, in front of which `before` or `again` stands */
    } system_how;
} bl_chat;
/* Lent. BL_E_UNSUPPORTED: the template is none of those, with its hash (XXH3-128 of its text), or there is neither a
 * template nor a token by which one is known. */
bl_status bl_tokenizer_chat(const bl_tokenizer *t, const bl_chat **out, bl_err *e);
/* The same of a template's text, and of the hash of one that was compared; NULL: none. */
bl_status bl_chat_of(const char *template_text, const bl_chat **out, bl_err *e);
const bl_chat *bl_chat_of_hash(bl_hash h);
#endif
