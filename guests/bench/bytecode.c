/* A bytecode interpreter: one indirect jump for each bytecode. Its program counts the steps of Collatz sequences. */
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, MUL, HALVE, ODD, LESS, JUMP, JUMP_IF_NOT, END };
enum { LIMIT, START, X, STEPS };

static const uint8_t program[] = {
    /* 0 */ PUSH, 1, STORE, START,
    /* 4: for each start below the limit */ LOAD, START, LOAD, LIMIT, LESS, JUMP_IF_NOT, 60,
    /* 11 */ LOAD, START, STORE, X,
    /* 15: while 1 < x */ PUSH, 1, LOAD, X, LESS, JUMP_IF_NOT, 51,
    /* 22 */ LOAD, STEPS, PUSH, 1, ADD, STORE, STEPS,
    /* 29 */ LOAD, X, ODD, JUMP_IF_NOT, 44,
    /* 34: odd */ LOAD, X, PUSH, 3, MUL, PUSH, 1, ADD, JUMP, 47,
    /* 44: even */ LOAD, X, HALVE,
    /* 47 */ STORE, X, JUMP, 15,
    /* 51 */ LOAD, START, PUSH, 1, ADD, STORE, START, JUMP, 4,
    /* 60 */ LOAD, STEPS, END,
};

static uint64_t execute(const uint8_t *code, uint64_t limit)
{
    uint64_t stack[16], variables[4] = { limit }, *top = stack;
    for (const uint8_t *pc = code;;) {
        switch (*pc++) {
        case PUSH:
            *top++ = *pc++;
            break;
        case LOAD:
            *top++ = variables[*pc++];
            break;
        case STORE:
            variables[*pc++] = *--top;
            break;
        case ADD:
            top--;
            top[-1] += *top;
            break;
        case MUL:
            top--;
            top[-1] *= *top;
            break;
        case HALVE:
            top[-1] /= 2;
            break;
        case ODD:
            top[-1] &= 1;
            break;
        case LESS:
            top--;
            top[-1] = top[-1] < *top;
            break;
        case JUMP:
            pc = code + *pc;
            break;
        case JUMP_IF_NOT:
            pc = *--top ? pc + 1 : code + *pc;
            break;
        case END:
            return *--top;
        }
    }
}

uint32_t bench_bytecode(uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t round = 0; round < n; round++)
        sum = fold(sum, (uint32_t)execute(program, 100 + round % 50));
    return sum;
}
