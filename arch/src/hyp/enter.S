// World switch between the hypervisor and a guest, and the hypervisor's vectors.
//
// TPIDR_EL2 holds the address of the current GuestFrame while a guest runs. Under FEAT_NV2 it is memory for a
// guest hypervisor, so the same code costs no trap one level up.

.section .text.hyp_enter, "ax"

// x0: GuestFrame. Returns the kind of exit in x0: 0 synchronous, 1 IRQ, 2 FIQ, 3 SError.
.global hyp_enter
.type hyp_enter, @function
hyp_enter:
    stp x19, x20, [sp, #-96]!
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    msr tpidr_el2, x0
    ldp x1, x2, [x0, #{PC}]
    msr elr_el2, x1
    msr spsr_el2, x2
    ldp x2, x3, [x0, #16]
    ldp x4, x5, [x0, #32]
    ldp x6, x7, [x0, #48]
    ldp x8, x9, [x0, #64]
    ldp x10, x11, [x0, #80]
    ldp x12, x13, [x0, #96]
    ldp x14, x15, [x0, #112]
    ldp x16, x17, [x0, #128]
    ldp x18, x19, [x0, #144]
    ldp x20, x21, [x0, #160]
    ldp x22, x23, [x0, #176]
    ldp x24, x25, [x0, #192]
    ldp x26, x27, [x0, #208]
    ldp x28, x29, [x0, #224]
    ldr x30, [x0, #240]
    ldp x0, x1, [x0]
.global hyp_guest_eret
hyp_guest_eret:
    eret

// Every exit from a lower EL comes here with x0, x1 on the stack, x0 = GuestFrame, x1 = kind.
// The syndrome is read here, once. HPFAR_EL2 is left to the abort handler: for a guest hypervisor it traps.
hyp_exit:
    stp x2, x3, [x0, #16]
    stp x4, x5, [x0, #32]
    stp x6, x7, [x0, #48]
    stp x8, x9, [x0, #64]
    stp x10, x11, [x0, #80]
    stp x12, x13, [x0, #96]
    stp x14, x15, [x0, #112]
    stp x16, x17, [x0, #128]
    stp x18, x19, [x0, #144]
    stp x20, x21, [x0, #160]
    stp x22, x23, [x0, #176]
    stp x24, x25, [x0, #192]
    stp x26, x27, [x0, #208]
    stp x28, x29, [x0, #224]
    str x30, [x0, #240]
    ldp x2, x3, [sp], #16
    stp x2, x3, [x0]
    mrs x2, elr_el2
    mrs x3, spsr_el2
    stp x2, x3, [x0, #{PC}]
    mrs x2, esr_el2
    mrs x3, far_el2
    stp x2, x3, [x0, #{ESR}]
    mov x0, x1
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp x19, x20, [sp], #96
    ret

.macro from_guest kind
    .balign 128
    stp x0, x1, [sp, #-16]!
    mrs x0, tpidr_el2
    mov x1, #\kind
    b hyp_exit
.endm

// An exception of the hypervisor itself: never expected.
.macro from_self number
    .balign 128
    mov x0, #\number
    b hyp_broken
.endm

.balign 2048
.global hyp_vectors
hyp_vectors:
    from_self 0
    from_self 1
    from_self 2
    from_self 3
    from_self 4
    from_self 5
    from_self 6
    from_self 7
    from_guest 0
    from_guest 1
    from_guest 2
    from_guest 3
    from_self 12
    from_self 13
    from_self 14
    from_self 15

hyp_broken:
    mrs x1, esr_el2
    mrs x2, elr_el2
    mrs x3, far_el2
    bl hyp_exception
    b .
