// The image's entry: a relocatable static PIE, at EL1 or EL2, with stage 1 off. X0 is the loader's: a device
// tree or 0. No instruction here touches FP state, whatever the traps: the registers may be under test.

.section .text.boot, "ax"
.global _start
.type _start, %function
_start:
    // The header of an arm64 Linux Image, so that loaders of the Linux boot protocol take the image.
    b       1f
    .long   0
    .quad   0                           // text_offset: none
    .quad   IMAGE_SIZE                  // an absolute symbol of image.ld
    .quad   0xa                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

1:  msr     daifset, #15
    msr     spsel, #1
    mov     x19, x0
    adrp    x1, __boot_stack_top
    add     x1, x1, :lo12:__boot_stack_top
    mov     sp, x1

    // Relocate. Addends stand in the table, not in place, so that a second run has the same result.
    adrp    x2, __image_start           // linked at 0: the load address is the displacement
    add     x2, x2, :lo12:__image_start
    adrp    x3, __rela_start
    add     x3, x3, :lo12:__rela_start
    adrp    x4, __rela_end
    add     x4, x4, :lo12:__rela_end
2:  cmp     x3, x4
    b.hs    3f
    ldp     x5, x6, [x3], #16           // r_offset, r_info
    ldr     x7, [x3], #8                // r_addend
    cmp     x6, #{RELATIVE}
    b.ne    6f                          // the linker makes no others for a static PIE
    add     x7, x7, x2
    str     x7, [x5, x2]
    b       2b

3:  adrp    x3, __bss_start             // both ends are multiples of 64
    add     x3, x3, :lo12:__bss_start
    adrp    x4, __bss_end
    add     x4, x4, :lo12:__bss_end
4:  cmp     x3, x4
    b.hs    5f
    stp     xzr, xzr, [x3]
    stp     xzr, xzr, [x3, #16]
    stp     xzr, xzr, [x3, #32]
    stp     xzr, xzr, [x3, #48]
    add     x3, x3, #64
    b       4b

5:  dsb     sy
    isb
    mov     x0, x19
    mov     x29, #0
    mov     x30, #0
    bl      main
6:  wfi
    b       6b
.size _start, . - _start
