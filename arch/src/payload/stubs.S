// How the payload leaves a place and arrives at one. One copy for each Exception level, since each has its
// own scratch register (TPIDR_ELx) and its own exception registers. At EL2 the _EL2 names are used, which
// FEAT_NV2 redirects at a virtual EL2. No FP register is touched, no exclusive access made, and the stack is not
// used: SP is under test until it is recorded.

.arch_extension pauth
.arch_extension fp

// ---- Arrival ----------------------------------------------------------------------------------------------

// The first instructions of each way in: frees X0 and X1, sets X0 to the save area and X1 to the vector.
.macro ARRIVE level, vector
    msr     tpidr_\level, x0
    adrp    x0, {SAVED}
    str     x1, [x0, #8]
    mov     x1, #\vector
    b       payload_arrive_\level
.endm

// Saves what is left: all general registers, then PSTATE as far as the level can read it.
.macro SAVE_REGISTERS level
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    mrs     x2, tpidr_\level
    str     x2, [x0]
    mov     x3, sp
    stp     x30, x3, [x0, #240]
    mrs     x4, nzcv
.ifnc \level, el0
    mrs     x5, daif
    orr     x4, x4, x5
    mrs     x5, currentel
    orr     x4, x4, x5
    mrs     x5, spsel
    orr     x4, x4, x5
    tbnz    x1, #{NO_EXCEPTION_BIT}, 1f
    mrs     x6, esr_\level
    mrs     x7, elr_\level
    mrs     x8, spsr_\level
    mrs     x9, far_\level
    stp     x6, x7, [x0, #{ESR}]
    stp     x8, x9, [x0, #{SPSR}]
1:
.endif
    stp     x4, x1, [x0, #{PSTATE}]
    ldr     x2, [x0, #{WINDOW}]
    cbz     x2, 2f
    mov     x3, #0
    str     x3, [x2]                    // the doorbell's window closes: all is recorded
    str     x3, [x0, #{WINDOW}]
2:
.endm

// To the handler with the place in X3 and its stack, empty.
.macro TO_HANDLER
    adrp    x4, payload_stacks
    add     x4, x4, :lo12:payload_stacks
    add     x4, x4, x3, lsl #{STACK_SHIFT}
    mov     sp, x4
    ldr     x5, [x0, #{HANDLER}]
    mov     x0, x3
    mov     x29, #0
    mov     x30, #0
    br      x5
.endm

.section .text.payload, "ax"

payload_arrive_el2:
    SAVE_REGISTERS el2
    mov     x3, #{PLACE_EL2}
    TO_HANDLER

payload_arrive_el1:
    SAVE_REGISTERS el1
    ldr     x3, [x0, #{PLACE_EL1}]
    TO_HANDLER

payload_arrive_el0:
    SAVE_REGISTERS el0
    ldr     x3, [x0, #{PLACE_EL0}]
    TO_HANDLER

.macro VECTORS level
.balign 0x800
.global payload_vectors_\level
payload_vectors_\level:
.irp offset, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x400, 0x480, 0x500, 0x580, 0x600, 0x680, 0x700, 0x780
    .balign 0x80
    ARRIVE  \level, \offset
.endr
.endm

    VECTORS el2
    VECTORS el1

// ---- Departure --------------------------------------------------------------------------------------------

// X0 is a Departure. Up to the branch nothing is under test; behind it, everything but X0 and X1 is loaded.
.macro DEPART level
.balign 64
.global payload_depart_\level
payload_depart_\level:
    mov     x9, x0
    ldr     x3, [x9, #{SP_NOTE}]
    mov     x4, sp
    str     x4, [x3]
.ifnc \level, el0
    ldr     x3, [x9, #{SP_EL0}]
    cbz     x3, 2f
    mrs     x4, spsel
    cbz     x4, 1f
    msr     sp_el0, x3
    b       2f
1:  mov     sp, x3                      // this is SP_EL0
2:  ldr     x5, [x9, #{ELR}]
    cbz     x5, 6f
    ldp     x6, x7, [x9, #{KEY}]        // key, flip
    mov     x4, sp                      // the modifier of ERETAA and ERETAB
    cbz     x6, 5f
    tbz     x6, #0, 3f
    pacia   x5, x4
    b       4f
3:  pacib   x5, x4
4:  eor     x5, x5, x7
5:  msr     elr_\level, x5
6:
.endif
    ldr     x8, [x9, #{DEPARTURE_WINDOW}]
    ldp     x0, x1, [x9, #{GPR}]        // gpr, slot
    cbz     x8, 7f
    mov     x3, #1
    str     x3, [x8]                    // the doorbell's window opens
    ldr     x3, [x9, #{LIVE}]
    cbz     x3, 7f
    fmov    x3, d0
7:  ldr     x2, [x0, #248]
    msr     nzcv, x2
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    br      x1
.endm

// A slot: the rest of the load, the one instruction, and where to go if it takes no exception.
.macro SLOT level, instruction:vararg
.balign 32
    ldp     x0, x1, [x0]
    \instruction
    b       payload_enter_\level
.endm

// A slot that turns the virtual timer on (X0 is CNTV_CTL_EL0.ENABLE) and waits for its interrupt, unmasked where this
// level can do that. Turned on by the last instruction before the wait, it can be taken from nowhere else.
.macro TIMER_SLOT level, instruction:vararg
.balign 32
    ldp     x0, x1, [x0]
.ifc \level, el0
    nop
.else
    msr     daifclr, #2
.endif
    msr     cntv_ctl_el0, x0
1:  \instruction
    b       1b
.endm

// A table of slots of 16 bytes with the immediates 0 to 255 of an exception-generating instruction.
.macro IMMEDIATES level, opcode
.set immediate, 0
.rept 256
    ldp     x0, x1, [x0]
    .inst   \opcode + (immediate << 5)
    b       payload_enter_\level
    .inst   0
.set immediate, immediate + 1
.endr
.endm

.macro LEVEL level
    DEPART  \level

// The entry of a place of this level, and where its stubs fall through to.
.balign 64
.global payload_enter_\level
payload_enter_\level:
    ARRIVE  \level, {NO_EXCEPTION}

// In the order of arch::payload::Instruction.
.balign 64
.global payload_slots_\level
payload_slots_\level:
    SLOT    \level, eret
    SLOT    \level, eretaa
    SLOT    \level, eretab
    SLOT    \level, .inst 0
    SLOT    \level, ldr x0, [x1]
    SLOT    \level, wfi
    SLOT    \level, wfe
    SLOT    \level, mrs x0, actlr_el1
    SLOT    \level, str x0, [x1]
    // Unmasks IRQ and SError; the ISB is the instruction that runs unmasked.
.balign 32
    ldp     x0, x1, [x0]
    msr     daifclr, #6
    isb
    msr     daifset, #6
    b       payload_enter_\level
    TIMER_SLOT \level
    TIMER_SLOT \level, wfi
    // The touches, from number 1.
    SLOT    \level, mov v31.16b, v30.16b
    SLOT    \level, mov z31.d, z30.d
    SLOT    \level, mov p15.b, p14.b
    SLOT    \level, rdffr p15.b
    SLOT    \level, mrs x0, fpsr
    SLOT    \level, mrs x0, fpcr
    SLOT    \level, rdvl x0, #1
    SLOT    \level, mrs x0, S3_0_C1_C2_0 // ZCR_EL1
    SLOT    \level, msr S3_0_C1_C2_0, x0
    SLOT    \level, mrs x0, S3_4_C1_C2_0 // ZCR_EL2
    SLOT    \level, msr S3_4_C1_C2_0, x0
    SLOT    \level, mrs x0, S3_5_C1_C2_0 // ZCR_EL12
    SLOT    \level, mrs x0, S3_3_C4_C4_2 // FPMR
    SLOT    \level, ldr q0, [x1]
    SLOT    \level, ldr z0, [x1]
    SLOT    \level, str q30, [x1]
    SLOT    \level, ldff1d {{z0.d}}, p0/z, [x1, xzr, lsl #3]
    SLOT    \level, fmov x0, d30
    SLOT    \level, mrs x0, cpacr_el1
    SLOT    \level, msr cpacr_el1, x0
    SLOT    \level, mrs x0, S3_0_C1_C2_6 // SMCR_EL1
    SLOT    \level, setffr
    SLOT    \level, mrs x0, S3_3_C13_C0_5 // TPIDR2_EL0

// In the order of arch::payload::Generator.
.balign 64
.global payload_immediates_\level
payload_immediates_\level:
    IMMEDIATES \level, 0xd4000002       // HVC
    IMMEDIATES \level, 0xd4000001       // SVC
    IMMEDIATES \level, 0xd4000003       // SMC
    IMMEDIATES \level, 0xd4200000       // BRK
.endm

.arch_extension fp
.arch_extension simd
.arch_extension sve

    LEVEL   el2
    LEVEL   el1
    LEVEL   el0

// One stack for each place; the top of the stack of place n is n << STACK_SHIFT above the symbol.
.section .noinit.payload, "aw", @nobits
.balign 4096
.global payload_stacks
payload_stacks:
    .space  {STACKS} << {STACK_SHIFT}
