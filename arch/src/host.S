// Registers of a Linux task around one system call. An image is laid out as an abi FpImage: FPSR, FPCR, FPMR, VL, FFR, P0 to
// P15, Z0 to Z31.

.arch_extension fp
.arch_extension simd
.arch_extension sve

.section .text.host, "ax"

// X0: number and three arguments of the call, X1: image to load, X2: image to store to, X3: bit 0 SVE, bit 1 FPMR.
// Returns what the call returned.
.global host_call
host_call:
    stp     x29, x30, [sp, #-96]!
    mov     x29, sp
    stp     d8, d9, [sp, #16]
    stp     d10, d11, [sp, #32]
    stp     d12, d13, [sp, #48]
    stp     d14, d15, [sp, #64]
    mrs     x9, fpcr
    str     x9, [sp, #80]
    mov     x10, x2
    mov     x11, x3
    add     x12, x1, #{Z}
    ldr     x9, [x1, #{FPSR}]
    msr     fpsr, x9
    ldr     x9, [x1, #{FPCR}]
    msr     fpcr, x9
    tbz     x11, #1, 1f
    ldr     x9, [x1, #{FPMR}]
    msr     S3_3_C4_C4_2, x9
1:  tbz     x11, #0, 2f
    add     x9, x1, #{FFR}
    ldr     p0, [x9]
    wrffr   p0.b
    add     x9, x1, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    ldr     p\n, [x9, #\n, mul vl]
.endr
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ldr     z\n, [x12, #\n, mul vl]
.endr
    b       3f
2:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ldr     q\n, [x12, #16 * \n]
.endr
3:  ldp     x1, x2, [x0, #16]
    ldp     x8, x0, [x0]
    svc     #0
    add     x12, x10, #{Z}
    tbz     x11, #0, 4f
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     z\n, [x12, #\n, mul vl]
.endr
    add     x9, x10, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    str     p\n, [x9, #\n, mul vl]
.endr
    rdffr   p0.b
    add     x9, x10, #{FFR}
    str     p0, [x9]
    rdvl    x9, #1
    str     x9, [x10, #{VL}]
    b       5f
4:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     q\n, [x12, #16 * \n]
.endr
    mov     x9, #16
    str     x9, [x10, #{VL}]
5:  mrs     x9, fpsr
    str     x9, [x10, #{FPSR}]
    mrs     x9, fpcr
    str     x9, [x10, #{FPCR}]
    tbz     x11, #1, 6f
    mrs     x9, S3_3_C4_C4_2
    str     x9, [x10, #{FPMR}]
    msr     S3_3_C4_C4_2, xzr
6:  ldr     x9, [sp, #80]
    msr     fpcr, x9
    ldp     d14, d15, [sp, #64]
    ldp     d12, d13, [sp, #48]
    ldp     d10, d11, [sp, #32]
    ldp     d8, d9, [sp, #16]
    ldp     x29, x30, [sp], #96
    ret

// A guest that shares a CPU with the one under test. It is entered at EL1 with nothing set up. X0: an image in its own
// memory, X1: another one, X2: its doorbell, X3: as above. It loads the first, rings, stores the second, rings, and so on.
.global host_other_guest
.balign 4096
host_other_guest:
    mov     x9, #3 << 20
    orr     x9, x9, #3 << 16
    msr     cpacr_el1, x9
    isb
    tbz     x3, #0, 1f
    mov     x9, #15
    msr     S3_0_C1_C2_0, x9            // ZCR_EL1
    isb
1:  add     x12, x0, #{Z}
    ldr     x9, [x0, #{FPSR}]
    msr     fpsr, x9
    ldr     x9, [x0, #{FPCR}]
    msr     fpcr, x9
    tbz     x3, #0, 2f
    add     x9, x0, #{FFR}
    ldr     p0, [x9]
    wrffr   p0.b
    add     x9, x0, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    ldr     p\n, [x9, #\n, mul vl]
.endr
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ldr     z\n, [x12, #\n, mul vl]
.endr
    b       3f
2:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ldr     q\n, [x12, #16 * \n]
.endr
3:  str     x3, [x2]
    add     x12, x1, #{Z}
    tbz     x3, #0, 4f
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     z\n, [x12, #\n, mul vl]
.endr
    add     x9, x1, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    str     p\n, [x9, #\n, mul vl]
.endr
    rdffr   p0.b
    add     x9, x1, #{FFR}
    str     p0, [x9]
    rdvl    x9, #1
    str     x9, [x1, #{VL}]
    b       5f
4:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     q\n, [x12, #16 * \n]
.endr
    mov     x9, #16
    str     x9, [x1, #{VL}]
5:  mrs     x9, fpsr
    str     x9, [x1, #{FPSR}]
    mrs     x9, fpcr
    str     x9, [x1, #{FPCR}]
    str     x3, [x2]
    b       1b
.global host_other_guest_end
host_other_guest_end:
