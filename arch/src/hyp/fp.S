// Save and load of FP state, for the hypervisor. The payload's fill and dump are other code, on purpose.
//
// All routines take the address of the storage in x0 and change no general register that the AAPCS keeps.
// Z registers lie VL bytes apart, P registers VL/8: the images are packed by the length in force.

.arch_extension fp
.arch_extension simd
.arch_extension sve

.section .text.hyp_fp, "ax"

.macro all_z op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op z\n, [x0, #\n, mul vl]
    .endr
.endm

.macro all_p op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \op p\n, [x0, #\n, mul vl]
    .endr
.endm


.global hyp_save_z
hyp_save_z:
    all_z str
    ret

.global hyp_load_z
hyp_load_z:
    all_z ldr
    ret

// x0: storage of P0 to P15, x1: storage of FFR. FFR goes through P0, so P0 is stored first and put back.
.global hyp_save_p_ffr
hyp_save_p_ffr:
    all_p str
    rdffr p0.b
    str p0, [x1]
    ldr p0, [x0]
    ret

// x0: storage of P0 to P15, x1: storage of FFR. FFR goes through P0, so it comes first.
.global hyp_load_p_ffr
hyp_load_p_ffr:
    ldr p0, [x1]
    wrffr p0.b
    all_p ldr
    ret

.global hyp_save_v
hyp_save_v:
    stp q0, q1, [x0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    ret

.global hyp_load_v
hyp_load_v:
    ldp q0, q1, [x0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    ret

// Returns the vector length in bytes.
.global hyp_rdvl
hyp_rdvl:
    rdvl x0, #1
    ret

// What an exit path that was compiled with FP does: for the fault of that name.
.global hyp_clobber_q0_to_q3
hyp_clobber_q0_to_q3:
    movi v0.16b, #0x5a
    movi v1.16b, #0x5a
    movi v2.16b, #0x5a
    movi v3.16b, #0x5a
    ret

// The other guest of the `other-vcpu` disturbance, at EL1 with stage 1 and 2 off.
// x0: storage of Z, x1: of P, x2: of FFR (packed by its own VL), x3: FPSR, x4: FPCR.
// It fills every register, then calls its hypervisor. It never returns.
.global hyp_other_guest
hyp_other_guest:
    ldr p0, [x2]
    wrffr p0.b
    all_z ldr
    mov x5, x0
    mov x0, x1
    all_p ldr
    mov x0, x5
    msr S3_3_C4_C4_1, x3
    msr S3_3_C4_C4_0, x4
    hvc #0x0b
    b .

// The same on a CPU without SVE: x0 is the storage of V.
.global hyp_other_guest_v
hyp_other_guest_v:
    bl hyp_load_v
    msr S3_3_C4_C4_1, x3
    msr S3_3_C4_C4_0, x4
    hvc #0x0b
    b .
