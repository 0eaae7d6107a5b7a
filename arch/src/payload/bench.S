// The tight loop that `holdfast bench` counts: L1 uses SVE, enters L2, L2 uses SVE and calls back.
// L1 does here what any hypervisor must do and nothing else, so that what is counted is the level below.

.arch_extension sve

.section .text.payload_bench, "ax"

// x0: round trips, at least 1. x1: the vector base to install for the loop, and x2: the one to put back.
// x3: 1 if VBAR_EL2 is reached by its VHE alias. Returns the ticks of CNTVCT_EL0 that the loop took.
// FP and SVE must be open at L1 and for L2. ELR_EL2 and SPSR_EL2 are lost.
.global payload_round_trips
payload_round_trips:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x19, x0
    mov     x20, x2
    mov     x21, x3
    cbnz    x21, 1f
    msr     vbar_el2, x1
    b       2f
1:  msr     vbar_el1, x1
2:  adr     x4, payload_bench_guest
    msr     elr_el2, x4
    mov     x4, #0x3c5                  // EL1h, DAIF masked
    msr     spsr_el2, x4
    isb
    mrs     x22, cntvct_el0
payload_bench_loop:
    add     z1.b, z1.b, #1
    eret
payload_bench_guest:
    add     z0.b, z0.b, #1
    hvc     #0
    b       payload_bench_guest
payload_bench_back:
    subs    x19, x19, #1
    b.ne    payload_bench_loop
    isb
    mrs     x0, cntvct_el0
    sub     x0, x0, x22
    cbnz    x21, 3f
    msr     vbar_el2, x20
    b       4f
3:  msr     vbar_el1, x20
4:  isb
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

.balign 2048
.global payload_bench_vectors
payload_bench_vectors:
    .rept 8
    .balign 128
    b       .                           // never: nothing of L1 itself traps here
    .endr
    .balign 128
    b       payload_bench_back          // synchronous, from L2
    .rept 7
    .balign 128
    b       .
    .endr
