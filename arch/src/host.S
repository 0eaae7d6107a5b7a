// Registers of a Linux task around one system call. An image is laid out as an abi FpImage: FPSR, FPCR, FPMR, VL, FFR, P0 to
// P15, Z0 to Z31.

.arch_extension fp
.arch_extension simd
.arch_extension sve
.arch_extension sme2

// Loads FPSR, FPCR, FPMR, and Z, P, FFR or V from an image, by the bits of `uses`: bit 0 Z, P and FFR, bit 1 FPMR, bit 8 not FFR.
// X9 and X12 are lost.
.macro load_registers image, uses
    add     x12, \image, #{Z}
    ldr     x9, [\image, #{FPSR}]
    msr     fpsr, x9
    ldr     x9, [\image, #{FPCR}]
    msr     fpcr, x9
    tbz     \uses, #1, 1f
    ldr     x9, [\image, #{FPMR}]
    msr     S3_3_C4_C4_2, x9
1:  tbz     \uses, #0, 2f
    tbnz    \uses, #8, 1f
    add     x9, \image, #{FFR}
    ldr     p0, [x9]
    wrffr   p0.b
1:  add     x9, \image, #{P}
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
3:
.endm

// Stores the same to an image. X9, X12 and, with SVE, P0 are lost.
.macro store_registers image, uses
    add     x12, \image, #{Z}
    tbz     \uses, #0, 4f
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     z\n, [x12, #\n, mul vl]
.endr
    add     x9, \image, #{P}
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    str     p\n, [x9, #\n, mul vl]
.endr
    tbnz    \uses, #8, 6f
    rdffr   p0.b
    add     x9, \image, #{FFR}
    str     p0, [x9]
6:  rdvl    x9, #1
    str     x9, [\image, #{VL}]
    b       5f
4:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     q\n, [x12, #16 * \n]
.endr
    mov     x9, #16
    str     x9, [\image, #{VL}]
5:  mrs     x9, fpsr
    str     x9, [\image, #{FPSR}]
    mrs     x9, fpcr
    str     x9, [\image, #{FPCR}]
    tbz     \uses, #1, 6f
    mrs     x9, S3_3_C4_C4_2
    str     x9, [\image, #{FPMR}]
6:
.endm

// Loads TPIDR2_EL0, SVCR, ZA and ZT0 from an SME image, by the bits of `uses`: bit 2 streaming mode, bit 3 ZA, bit 4 ZT0. X9,
// X12 and X13 are lost.
.macro load_sme image, uses
    ldr     x9, [\image, #{TPIDR2}]
    msr     S3_3_C13_C0_5, x9           // TPIDR2_EL0
    ubfx    x9, \uses, #2, #2
    msr     S3_3_C4_C2_2, x9            // SVCR
    tbz     \uses, #3, 2f
    rdsvl   x13, #1
    mov     w12, #0
    add     x9, \image, #{ZA}
1:  ldr     za[w12, 0], [x9]
    add     x9, x9, x13
    add     w12, w12, #1
    cmp     w12, w13
    b.ne    1b
    tbz     \uses, #4, 2f
    add     x9, \image, #{ZT0}
    ldr     zt0, [x9]
2:
.endm

// Stores the same to an SME image, and the streaming vector length, ZA and ZT0 if PSTATE.ZA is set. TPIDR2_EL0 and SVCR are
// zero afterwards; X9, X12 and X13 are lost.
.macro store_sme image, uses
    mrs     x9, S3_3_C13_C0_5
    str     x9, [\image, #{TPIDR2}]
    msr     S3_3_C13_C0_5, xzr
    mrs     x9, S3_3_C4_C2_2
    str     x9, [\image, #{SVCR}]
    rdsvl   x13, #1
    str     x13, [\image, #{VL}]
    tbz     x9, #1, 6f
    tbz     \uses, #4, 5f
    add     x9, \image, #{ZT0}
    str     zt0, [x9]
5:  mov     w12, #0
    add     x9, \image, #{ZA}
1:  str     za[w12, 0], [x9]
    add     x9, x9, x13
    add     w12, w12, #1
    cmp     w12, w13
    b.ne    1b
6:  msr     S3_3_C4_C2_2, xzr
.endm

// What a function has to keep for its caller. X9 is lost.
.macro enter_function
    stp     x29, x30, [sp, #-96]!
    mov     x29, sp
    stp     d8, d9, [sp, #16]
    stp     d10, d11, [sp, #32]
    stp     d12, d13, [sp, #48]
    stp     d14, d15, [sp, #64]
    mrs     x9, fpcr
    str     x9, [sp, #80]
.endm

.macro leave_function uses
    tbz     \uses, #1, 7f
    msr     S3_3_C4_C4_2, xzr
7:  ldr     x9, [sp, #80]
    msr     fpcr, x9
    ldp     d14, d15, [sp, #64]
    ldp     d12, d13, [sp, #48]
    ldp     d10, d11, [sp, #32]
    ldp     d8, d9, [sp, #16]
    ldp     x29, x30, [sp], #96
    ret
.endm

.section .text.host, "ax"

// X0: number and three arguments of the call, X1: image to load, X2: image to store to, X3: bit 0 SVE, bit 1 FPMR.
// Returns what the call returned.
.global host_call
host_call:
    enter_function
    mov     x10, x2
    mov     x11, x3
    load_registers x1, x11
    ldp     x1, x2, [x0, #16]
    ldp     x8, x0, [x0]
    svc     #0
    store_registers x10, x11
    leave_function x11

// X0: image to load, X1: image to store to, X2: as X3 above, X3: a word, X4: a value of it, X5: a number of rounds.
// Loads, waits as many rounds at most for the word to be another, and stores. Returns the rounds that are left.
.global host_hold
host_hold:
    enter_function
    load_registers x0, x2
8:  ldr     x9, [x3]
    cmp     x9, x4
    b.ne    9f
    subs    x5, x5, #1
    b.ne    8b
9:  store_registers x1, x2
    mov     x0, x5
    leave_function x2

// X0: image to load, X1: image to store to, X2: as X3 above, X3: an address. Loads, reads a byte there, and stores.
.global host_touch
host_touch:
    enter_function
    load_registers x0, x2
    ldrb    w9, [x3]
    store_registers x1, x2
    leave_function x2

// X0: image to load, X1: image to store to, X2: SME image to load, X3: SME image to store to, X4: as X3 above, and as of
// host_sme_call, X5: an address. Loads, reads a byte there, and stores. The images are at the streaming vector length if X4
// asks for streaming mode.
.global host_sme_touch
host_sme_touch:
    enter_function
    load_sme x2, x4
    load_registers x0, x4
    ldrb    w9, [x5]
    store_registers x1, x4
    store_sme x3, x4
    leave_function x4

// X0: number and three arguments of the call, X1: SME image to load, X2: SME image to store to, X3: bit 1 FPMR, bit 2
// streaming mode, bit 3 ZA, bit 4 ZT0. Returns what the call returned.
.global host_sme_call
host_sme_call:
    enter_function
    mov     x10, x2
    mov     x11, x3
    load_sme x1, x11
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ldr     q\n, [x1, #{V} + 16 * \n]
.endr
    ldr     x9, [x1, #{FPSR}]
    msr     fpsr, x9
    ldr     x9, [x1, #{FPCR}]
    msr     fpcr, x9
    tbz     x11, #1, 3f
    ldr     x9, [x1, #{FPMR}]
    msr     S3_3_C4_C4_2, x9
3:  ldp     x1, x2, [x0, #16]
    ldp     x8, x0, [x0]
    svc     #0
    mrs     x9, fpsr
    str     x9, [x10, #{FPSR}]
    mrs     x9, fpcr
    str     x9, [x10, #{FPCR}]
    tbz     x11, #1, 4f
    mrs     x9, S3_3_C4_C4_2
    str     x9, [x10, #{FPMR}]
4:
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    str     q\n, [x10, #{V} + 16 * \n]
.endr
    store_sme x10, x11
    leave_function x11

// As host_sme_touch, but X5: number and three arguments of a call, which it makes in place of the read. Returns what the call
// returned.
.global host_sme_call_whole
host_sme_call_whole:
    enter_function
    mov     x10, x1
    mov     x14, x3
    mov     x11, x4
    load_sme x2, x4
    load_registers x0, x4
    ldp     x1, x2, [x5, #16]
    ldp     x8, x0, [x5]
    svc     #0
    store_registers x10, x11
    store_sme x14, x11
    leave_function x11

// A guest that shares a CPU with the one under test. It is entered at EL1 with nothing set up. X0: an image in its own
// memory, X1: another one, X2: its doorbell, X3: as above, and bit 5: it uses a Q register for its doorbell, bit 6: its VM
// is protected, bit 7: it makes calls, bit 9: it loads once more before it stores. It loads the first, rings, stores the second, rings,
// and so on.
.global host_other_guest
.balign 4096
host_other_guest:
    mov     x9, #3 << 20
    orr     x9, x9, #3 << 16
    msr     cpacr_el1, x9
    isb
    tbz     x3, #0, 8f
    mov     x9, #15
    msr     S3_0_C1_C2_0, x9            // ZCR_EL1
    isb
8:  tbz     x3, #6, 8f
    mov     x20, x0
    mov     x21, x1
    mov     x22, x2
    mov     x23, x3
    mov     x1, x20
    bl      10f
    mov     x24, x0
    mov     x1, x21
    bl      10f
    orr     x24, x24, x0
    mov     x0, x20
    mov     x1, x21
    mov     x2, x22
    mov     x3, x23
    str     x24, [x2]
    store_registers x1, x3
    str     x3, [x2]
8:  load_registers x0, x3
    str     x3, [x2]
    tbz     x3, #9, 9f
    load_registers x0, x3               // as for a Q register below
9:  tbz     x3, #5, 9f
    load_registers x0, x3               // others than were saved when it rang
    ldr     q0, [x2]
    str     q1, [x2]
9:  tbz     x3, #7, 9f
    load_registers x0, x3
    mov     x20, x0
    ldr     w0, =({CALL_HVC})
    hvc     #0
    mov     x0, x20
    store_registers x1, x3
    str     x3, [x2]
    load_registers x0, x3
    ldr     w0, =({CALL_SMC})
    smc     #0
    mov     x0, x20
9:  store_registers x1, x3
    str     x3, [x2]
    b       8b
// Shares the page at X1 with the host: MEM_SHARE of KVM's hypercalls (Documentation/virt/kvm/arm/hypercalls.rst). X0: 0 or an
// error.
10: movz    x0, #0xc600, lsl #16
    movk    x0, #3
    mov     x2, xzr
    mov     x3, xzr
    hvc     #0
    ret
.ltorg
.global host_other_guest_end
host_other_guest_end:

// What a vCPU does to make one SMCCC call, which uses no FP. It is entered at its guest's highest level with X0 to X3: the call,
// X4: its doorbell, where it stores what the call returned.
.global host_caller
.balign 4096
host_caller:
    mrs     x9, CurrentEL
    tbnz    x9, #3, 1f                  // the hypervisor below EL2 has the other conduit
    hvc     #0
    b       2f
1:  smc     #0
2:  str     x0, [x4]
    b       .
.global host_caller_end
host_caller_end:

// A guest that writes a key of pointer authentication and rings. It is entered at EL1 with X2: its doorbell.
.global host_key_guest
.balign 4096
host_key_guest:
    msr     S3_0_C2_C1_0, xzr           // APIAKeyLo_EL1
    str     xzr, [x2]
    b       .
.global host_key_guest_end
host_key_guest_end:

// A guest that tells what it finds in TCR2_EL1. It is entered at EL1 with X2: its doorbell.
.global host_tcr2_guest
.balign 4096
host_tcr2_guest:
    mrs     x3, S3_0_C2_C0_3            // TCR2_EL1
    str     x3, [x2]
    b       .
.global host_tcr2_guest_end
host_tcr2_guest_end:
