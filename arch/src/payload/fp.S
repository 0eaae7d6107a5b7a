// Fill, dump and churn: the only code of the payload that touches FP state, and nothing but what is asked.
// The first argument of fill and dump is an abi FpImage: FPSR, FPCR, FPMR, VL, FFR, P0 to P15, Z0 to Z31.

.arch_extension fp
.arch_extension simd
.arch_extension sve

.section .text.payload, "ax"

.macro FILL_STATUS
    tbz     x1, #{FPSR_BIT}, 1f
    ldr     x3, [x0, #{FPSR}]
    msr     fpsr, x3
1:  tbz     x1, #{FPCR_BIT}, 1f
    ldr     x3, [x0, #{FPCR}]
    msr     fpcr, x3
1:  tbz     x1, #{FPMR_BIT}, 1f
    ldr     x3, [x0, #{FPMR}]
    msr     S3_3_C4_C4_2, x3
1:
.endm

// X0: image, X1: mask, X2: 32 bytes to keep P0 in.
.global payload_fill
payload_fill:
    tbz     x1, #{FFR_BIT}, 1f
    str     p0, [x2]                    // FFR is written by way of a predicate
    add     x3, x0, #{FFR}
    ldr     p0, [x3]
    wrffr   p0.b
    ldr     p0, [x2]
1:  add     x3, x0, #{Z}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    tbz     x1, #\n, 1f
    ldr     z\n, [x3, #\n, mul vl]
1:
.endr
    lsr     x4, x1, #{P_BIT}
    add     x3, x0, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    tbz     x4, #\n, 1f
    ldr     p\n, [x3, #\n, mul vl]
1:
.endr
    FILL_STATUS
    ret

// The same for a place that has no SVE: X0: image, X1: mask.
.global payload_fill_v
payload_fill_v:
    add     x3, x0, #{Z}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    tbz     x1, #\n, 1f
    ldr     q\n, [x3, #16 * \n]
1:
.endr
    FILL_STATUS
    ret

.macro DUMP_STATUS
    mrs     x3, fpsr
    mrs     x4, fpcr
    stp     x3, x4, [x0, #{FPSR}]
    cbz     x1, 1f
    mrs     x3, S3_3_C4_C4_2
    str     x3, [x0, #{FPMR}]
1:
.endm

// X0: image, X1: 1 to store FPMR as well.
.global payload_dump
payload_dump:
    add     x2, x0, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    str     p\n, [x2, #\n, mul vl]
.endr
    add     x3, x0, #{FFR}
    rdffr   p0.b
    str     p0, [x3]
    ldr     p0, [x2]
    add     x3, x0, #{Z}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     z\n, [x3, #\n, mul vl]
.endr
    rdvl    x3, #1
    str     x3, [x0, #{VL}]
    DUMP_STATUS
    ret

// The same for a place that has no SVE.
.global payload_dump_v
payload_dump_v:
    add     x3, x0, #{Z}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     q\n, [x3, #16 * \n]
.endr
    mov     x3, #16
    str     x3, [x0, #{VL}]
    DUMP_STATUS
    ret

.global payload_touch
payload_touch:
    fmov    x0, d0
    ret

// Bits that are changed change back the second time.
.global payload_flip
payload_flip:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    eor     z\n\().d, z\n\().d, #0x5555555555555555
.endr
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    rev     p\n\().b, p\n\().b
.endr
    ret

.global payload_flip_v
payload_flip_v:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    mvn     v\n\().16b, v\n\().16b
.endr
    ret

.global payload_rdvl
payload_rdvl:
    rdvl    x0, #1
    ret

// Z[a] += Z[b], then Z[a] ^= Z[c].
.macro CHURN_Z a, b, c
    add     z\a\().d, z\a\().d, z\b\().d
    eor     z\a\().d, z\a\().d, z\c\().d
.endm
.macro CHURN_V a, b, c
    add     v\a\().2d, v\a\().2d, v\b\().2d
    eor     v\a\().16b, v\a\().16b, v\c\().16b
.endm
// P[a] ^= P[b] under the all-true predicate `true`.
.macro CHURN_P a, b, true
    eor     p\a\().b, p\true\()/z, p\a\().b, p\b\().b
.endm
.macro CHURN_32 one
    \one    0, 1, 7
    \one    1, 2, 8
    \one    2, 3, 9
    \one    3, 4, 10
    \one    4, 5, 11
    \one    5, 6, 12
    \one    6, 7, 13
    \one    7, 8, 14
    \one    8, 9, 15
    \one    9, 10, 16
    \one    10, 11, 17
    \one    11, 12, 18
    \one    12, 13, 19
    \one    13, 14, 20
    \one    14, 15, 21
    \one    15, 16, 22
    \one    16, 17, 23
    \one    17, 18, 24
    \one    18, 19, 25
    \one    19, 20, 26
    \one    20, 21, 27
    \one    21, 22, 28
    \one    22, 23, 29
    \one    23, 24, 30
    \one    24, 25, 31
    \one    25, 26, 0
    \one    26, 27, 1
    \one    27, 28, 2
    \one    28, 29, 3
    \one    29, 30, 4
    \one    30, 31, 5
    \one    31, 0, 6
.endm

// X0: rounds, not 0; X1: 32 bytes to keep a predicate in. All sixteen predicates are operands, so the all-true
// one that EOR needs is each time a register that the round does not use for a while.
.global payload_churn
payload_churn:
1:  CHURN_32 CHURN_Z
    str     p15, [x1]
    ptrue   p15.b
    CHURN_P 0, 1, 15
    CHURN_P 1, 2, 15
    CHURN_P 2, 3, 15
    CHURN_P 3, 4, 15
    CHURN_P 4, 5, 15
    CHURN_P 5, 6, 15
    CHURN_P 6, 7, 15
    CHURN_P 7, 8, 15
    CHURN_P 8, 9, 15
    CHURN_P 9, 10, 15
    CHURN_P 10, 11, 15
    CHURN_P 11, 12, 15
    CHURN_P 12, 13, 15
    CHURN_P 13, 14, 15
    ldr     p15, [x1]
    str     p1, [x1]
    ptrue   p1.b
    CHURN_P 14, 15, 1
    CHURN_P 15, 0, 1
    ldr     p1, [x1]
    sub     x0, x0, #1
    cbnz    x0, 1b
    ret

// X0: rounds, not 0.
.global payload_churn_v
payload_churn_v:
1:  CHURN_32 CHURN_V
    sub     x0, x0, #1
    cbnz    x0, 1b
    ret

// Zeroes everything at the present vector length. X0: 1 with SVE, X1: 1 with FPMR.
.global payload_zero
payload_zero:
    cbz     x0, 1f
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    mov     z\n\().d, #0
.endr
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pfalse  p\n\().b
.endr
    wrffr   p0.b
    b       2f
1:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    movi    v\n\().2d, #0
.endr
2:  msr     fpsr, xzr
    msr     fpcr, xzr
    cbz     x1, 3f
    msr     S3_3_C4_C4_2, xzr
3:  ret
