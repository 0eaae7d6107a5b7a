//! The table of rules.

use super::{Area, Rule, Scope};

/// All rules, in the order of their numbers.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "P-01",
        text: "V0 to V31, every bit of FPSR and every writable bit of FPCR survive each exit that the guest \
            did not ask for: interrupt, stage 2 fault, WFI, trapped system register, timer.",
        follows: "I_FMWZZ, I_BRMMV; KVM core registers",
        bugs: &["XH-01", "XH-06", "SP-08", "SP-10", "LZ-13"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-02",
        text: "Z0 to Z31 at the current vector length, P0 to P15 and FFR survive such exits; where a level \
            with a smaller vector length was passed through, bits above that length are kept or zero, \
            each register for itself.",
        follows: "I_FMWZZ, I_BRMMV",
        bugs: &["LZ-06", "SP-01", "SP-12", "NV-05"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-03",
        text: "While PSTATE.ZA is 1, all rows of ZA at the full streaming vector length, and ZT0, survive \
            such exits, whatever PSTATE.SM is.",
        follows: "R_SFWMY",
        bugs: &["HK-02", "SP-11"],
        area: Area::Preservation,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-04",
        text: "PSTATE.SM and PSTATE.ZA are the same before and after an exit: exceptions do not change \
            them, so the hypervisor runs in the guest's streaming mode until it changes that itself.",
        follows: "R_SFWMY; PSTATE.SM and PSTATE.ZA",
        bugs: &["HK-04", "SP-11", "PK-02"],
        area: Area::Preservation,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-05",
        text: "FPMR survives every exit.",
        follows: "FPMR (C5.2.9); KVM from 6.12",
        bugs: &["LZ-03", "HK-03", "PK-09"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-06",
        text: "TPIDR2_EL0 and SMPRI_EL1 belong to one vCPU.",
        follows: "HFGxTR_EL2; Linux booting.rst",
        bugs: &["TR-01", "HK-11"],
        area: Area::Preservation,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-07",
        text: "A guest's own control registers read back as it wrote them after any exit: CPACR_EL1, \
            ZCR_EL1, SMCR_EL1, and EnFPM of HCRX_EL2 and SCTLR_EL1 as the guest sees them.",
        follows: "register descriptions: LEN and the enables are state",
        bugs: &["LZ-17", "PK-09", "HK-17"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-08",
        text: "A guest's FP state survives another guest on the same CPU in between, with other content in \
            every register, another vector length and another SVCR.",
        follows: "I_FMWZZ",
        bugs: &["LZ-11", "LZ-12", "LZ-13", "LZ-14", "SP-03", "HK-15"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-09",
        text: "A guest's FP state survives a move of the vCPU to another CPU and back, whether its \
            registers changed there or not, and whether another vCPU ran on the first CPU or not.",
        follows: "KVM put and load",
        bugs: &["HK-01", "HK-02"],
        area: Area::Preservation,
        scope: Scope::SeveralCpus,
    },
    Rule {
        id: "P-10",
        text: "A guest's FP state survives an exit at each single instruction of a sequence that changes \
            it.",
        follows: "R_RSWFQ, R_KFRQZ",
        bugs: &["SP-08", "HK-04"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-11",
        text: "A guest's FP state survives the hypervisor's own use of SIMD during the exit, in an \
            interrupt handler or a call.",
        follows: "KVM's context flush and sync",
        bugs: &["RM-03", "LZ-06", "LZ-15", "HK-16"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-12",
        text: "A guest can read no bit of another context in any register, nor in the bits that a larger \
            vector length uncovers.",
        follows: "I_BRMMV, R_PXZTM",
        bugs: &["RM-04", "HK-20", "HK-22", "LZ-14", "PK-01"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-13",
        text: "A new vCPU never sees another's FP state: KVM promises zero, elsewhere its content is \
            UNKNOWN but nobody's, and SVCR is 0.",
        follows: "KVM_ARM_VCPU_INIT; reset values of the registers",
        bugs: &["TR-04", "HK-05", "HK-20"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-14",
        text: "The first use of a unit gives the same result in whatever order FP, SVE, ZCR and FPMR come \
            first: lazy switching cannot be seen.",
        follows: "transparency of lazy switching",
        bugs: &["NV-08", "SP-20", "HK-29"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-15",
        text: "First use after any number of loads initializes nothing that the guest had written.",
        follows: "transparency of lazy switching",
        bugs: &["HK-19", "LZ-08"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-16",
        text: "A parked vCPU (WFI, a suspend that returns) resumes with its FP state; one that was reset, \
            or turned off and on, does not see its old state or anybody else's.",
        follows: "PSCI (DEN0022); reset values of the registers",
        bugs: &["SP-11", "HK-17", "TR-05"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-17",
        text: "SMC and HVC preserve FP and SVE state, unless SMCCC is 1.3 or later and the caller set its \
            SVE hint; then P, FFR and the bits of Z above 127 may be anything that is nobody else's. The \
            hint does not change which function is called.",
        follows: "SMCCC 1.3 (DEN0028), bit 16 of the function identifier",
        bugs: &["RM-07", "SP-05", "SP-12", "HK-21"],
        area: Area::Preservation,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-20",
        text: "KVM_RUN returns with V0 to V31, FPSR and FPCR of the calling thread unchanged; a call in \
            streaming mode leaves it, with V zero and FPSR and FPMR reset.",
        follows: "Linux sve.rst and sme.rst: system calls",
        bugs: &["LZ-07", "LZ-11"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-21",
        text: "SVE state that the thread makes after KVM_RUN returned survives being saved behind its back, \
            by a signal, a page fault or a preemption.",
        follows: "Linux sve.rst",
        bugs: &["LZ-01", "LZ-04", "LZ-08"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-22",
        text: "Vector length, FPMR, TPIDR2_EL0, and ZA and ZT0 while PSTATE.ZA is 1, are the thread's own \
            after KVM_RUN as before.",
        follows: "Linux sme.rst: system calls",
        bugs: &["LZ-03", "LZ-05", "LZ-09"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-23",
        text: "Registers that a debugger writes to a stopped vCPU thread reach the thread.",
        follows: "ptrace",
        bugs: &["LZ-02"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-24",
        text: "After an exit of a protected guest its host reads no value of the guest, at the host's \
            largest vector length.",
        follows: "isolation of protected guests",
        bugs: &["PK-01"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-25",
        text: "Entering a guest from a thread in streaming mode or with ZA enabled is refused, or cannot be \
            seen by the guest.",
        follows: "pKVM: refused with EINVAL",
        bugs: &["PK-02"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-26",
        text: "No value of ZCR, SMCR, CPACR, CPTR or SVCR that a guest chooses makes the host log a warning \
            or stop.",
        follows: "robustness",
        bugs: &["NV-02", "NV-13", "SP-16", "LZ-16"],
        area: Area::HostSide,
        scope: Scope::Host,
    },
    Rule {
        id: "P-30",
        text: "Entering streaming mode sets all implemented bits of Z0 to Z31 and P0 to P15, and FFR where \
            it can be reached, to zero.",
        follows: "R_RSWFQ",
        bugs: &["HK-24", "PK-02"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-31",
        text: "Leaving streaming mode sets Z0 to Z31, P0 to P15 and FFR to zero.",
        follows: "R_KFRQZ",
        bugs: &["HK-24"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-32",
        text: "A change of PSTATE.SM sets FPSR to 0x0800009f.",
        follows: "I_MHTLZ, FPSR (C5.2.10)",
        bugs: &["EM-01"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-33",
        text: "A change of PSTATE.SM sets FPMR to zero.",
        follows: "FPMR (C5.2.9)",
        bugs: &["HK-03"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-34",
        text: "SMSTART, SMSTOP and writes of SVCR that leave PSTATE.SM as it is change none of Z, P, FFR, \
            FPSR and FPMR.",
        follows: "R_RSWFQ, R_KFRQZ",
        bugs: &["HK-26"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-35",
        text: "An exit in streaming mode does not look like a change of streaming mode to the guest, \
            wherever it happens.",
        follows: "R_SFWMY, R_RSWFQ, R_KFRQZ",
        bugs: &["HK-04", "HK-26"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-36",
        text: "Enabling ZA sets ZA and ZT0 to zero, whatever was in them before they were disabled.",
        follows: "R_YRZRM",
        bugs: &["HK-02", "HK-29"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-37",
        text: "Enabling or disabling ZA changes none of Z, P, FFR and FPSR.",
        follows: "I_QWCJS",
        bugs: &[],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-38",
        text: "While PSTATE.ZA is 0, accesses to ZA and ZT0 are illegal (EC 0x1D, SMTC 3) and read nothing.",
        follows: "R_JHMYL",
        bugs: &["HK-10"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-39",
        text: "ZA survives any number of changes of PSTATE.SM while PSTATE.ZA is 1.",
        follows: "R_SFWMY",
        bugs: &[],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-40",
        text: "An instruction that is illegal in streaming mode gives EC 0x1D with SMTC 1 at the right \
            level; without FEAT_SME_FA64 that includes RDFFR, WRFFR, SETFFR and most of AdvSIMD.",
        follows: "R_VJZBC, R_XBBFD",
        bugs: &["PK-02", "HK-06", "EM-02"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-41",
        text: "EC 0x1D has SMTC 2 for a streaming instruction with PSTATE.SM at 0, SMTC 4 for ZT0 with EZT0 \
            at 0, and SMTC 0 where CPACR or CPTR disables SME.",
        follows: "ESR_ELx, ISS for EC 0x1D",
        bugs: &["HK-06", "SP-16"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-42",
        text: "RDSVL gives the streaming vector length in either mode; RDVL gives it in streaming mode and \
            the other one outside.",
        follows: "R_GWVHP, R_MMCTJ",
        bugs: &["TS-02"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-43",
        text: "With SME and without SVE, Z and P are state while PSTATE.SM is 1, and only then.",
        follows: "R_QSVCQ, R_KFTHG",
        bugs: &["SP-02", "HK-27"],
        area: Area::Streaming,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-50",
        text: "The vector length is the largest that the CPU has and that is not above the smallest LEN of \
            this level and all higher ones.",
        follows: "ZCR_EL1, ZCR_EL2 (D24.2)",
        bugs: &["NV-06", "SP-04"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-51",
        text: "No level of a guest, L2 included, has a vector length above the guest's configured maximum, \
            even if the CPU has.",
        follows: "KVM_REG_ARM64_SVE_VLS; ZCR_EL2",
        bugs: &["NV-01", "SP-19"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-52",
        text: "The vector lengths are all powers of two up to the maximum; lengths between them are a \
            stress case that older manuals allowed.",
        follows: "I_NWYBP, I_QQRNR",
        bugs: &["UA-02"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-53",
        text: "A write of LEN counts for the next instruction, without an ISB.",
        follows: "ZCR_EL1 (D24.2): writes of LEN appear to occur in program order",
        bugs: &["NV-03"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-54",
        text: "LEN reads back as written in its 4 bits, and bits 8 to 4 of ZCR read as zero.",
        follows: "ZCR_EL1 (D24.2.227)",
        bugs: &["NV-01"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-55",
        text: "A smaller vector length keeps the bits below it; a larger one uncovers, for each register, \
            zero or what this context last had in those bits.",
        follows: "I_PDLWX, R_YRPDH, R_PXZTM",
        bugs: &["HK-13", "NV-05"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-56",
        text: "Writing a V register sets the bits of the Z register from 128 up to the vector length to \
            zero.",
        follows: "R_WKYLB",
        bugs: &["HK-08", "PK-01"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-57",
        text: "All vCPUs of a guest, and all CPUs that they may run on, have the same vector lengths.",
        follows: "Linux booting.rst",
        bugs: &["HK-30", "SP-04", "SP-15"],
        area: Area::VectorLengths,
        scope: Scope::SeveralCpus,
    },
    Rule {
        id: "P-58",
        text: "At an EL2 with E2H at 1 the names ZCR_EL1 and CPACR_EL1 reach ZCR_EL2 and CPTR_EL2, and \
            ZCR_EL12 and CPACR_EL12 reach the registers of EL1; with E2H at 0 they do not.",
        follows: "accessor pseudocode of ZCR_EL1, CPACR_EL1",
        bugs: &["NV-07", "NV-14", "EM-09"],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-59",
        text: "Where SVE is trapped or disabled at a level with FP enabled, the vector length there counts \
            as 128 bits: passing through it may zero what is above, and a hypervisor saves that of \
            another context before.",
        follows: "R_KXKNK, R_YRPDH",
        bugs: &[],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-60",
        text: "Passing through a level at which FP as a whole is not available keeps all FP state.",
        follows: "R_DMBPN",
        bugs: &[],
        area: Area::VectorLengths,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-65",
        text: "An FP or AdvSIMD access that CPACR_EL1.FPEN traps goes to EL1 with EC 0x07, also if the \
            hypervisor traps FP as well; a guest sees no trap that it did not configure.",
        follows: "CPACR_EL1, CPTR_EL2: EL1 comes before EL2",
        bugs: &["XH-08", "LZ-19"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-66",
        text: "An SVE access that ZEN traps gives EC 0x19, and ZEN comes before FPEN.",
        follows: "CPACR_EL1.ZEN",
        bugs: &["NV-12", "SP-16"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-67",
        text: "An SME access that SMEN traps gives EC 0x1D with SMTC 0.",
        follows: "CPACR_EL1.SMEN",
        bugs: &["SP-16"],
        area: Area::Traps,
        scope: Scope::Sme,
    },
    Rule {
        id: "P-68",
        text: "FPEN and ZEN at 0b01 trap EL0 alone, under CPACR_EL1 or under a CPTR_EL2 with TGE at 1; in \
            CPTR_EL2 with TGE at 0 they trap nothing.",
        follows: "CPTR_EL2 with E2H at 1",
        bugs: &["NV-11"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-69",
        text: "An access to ZCR_EL1 at EL1 is checked against CPACR_EL1.ZEN (to EL1, EC 0x19), then against \
            ZEN or TZ of CPTR_EL2 (to EL2, EC 0x19), and not against FPEN.",
        follows: "accessor pseudocode of ZCR_EL1 (D24.2)",
        bugs: &["NV-09"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-70",
        text: "An access to ZCR_EL2 at EL1 is UNDEFINED; a guest hypervisor finds it as at a real EL2: no \
            trap, or EC 0x19 if it set that trap itself.",
        follows: "accessor pseudocode of ZCR_EL2 (D24.2)",
        bugs: &["NV-09", "NV-04"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-71",
        text: "When a trap is forwarded to a guest, ELR points at the trapping instruction, and nothing of \
            it was executed.",
        follows: "preferred exception return address",
        bugs: &["NV-04"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-72",
        text: "A guest without SVE, SME or FPMR finds their instructions and registers UNDEFINED, and ID \
            registers that say so.",
        follows: "ID_AA64PFR0_EL1, ID_AA64PFR1_EL1, ID_AA64PFR2_EL1",
        bugs: &["TR-01", "TR-10", "TR-11", "UA-12"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-73",
        text: "The ID registers promise nothing that the hypervisor does not switch.",
        follows: "ID_AA64PFR0_EL1, ID_AA64PFR1_EL1, ID_AA64PFR2_EL1, ID_AA64ZFR0_EL1",
        bugs: &["SP-06", "UA-12"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-74",
        text: "Trap settings act as their writer meant them in the layout of the E2H in force: CPTR_EL2 has \
            two.",
        follows: "CPTR_EL2",
        bugs: &["TR-02", "TR-03", "TR-04", "TR-05", "RM-05", "SP-07", "XH-09"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-75",
        text: "Trap settings follow the owner of the registers and the running context at every entry.",
        follows: "CPTR_EL2",
        bugs: &["TR-07", "SP-03", "SP-15"],
        area: Area::Traps,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-76",
        text: "A trapped floating-point exception reaches the context that caused it, with EC 0x2C.",
        follows: "ESR_ELx, EC 0x2C",
        bugs: &[],
        area: Area::Traps,
        scope: Scope::TrappedExceptions,
    },
    Rule {
        id: "P-80",
        text: "After any exception from L2, L1 finds in the registers exactly what L2 had there: EL2, EL1 \
            and EL0 share one register file.",
        follows: "one register file; I_FMWZZ",
        bugs: &["NV-00", "NV-10"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-81",
        text: "After an ERET of L1, L2 finds in the registers exactly what L1 left there.",
        follows: "one register file; I_FMWZZ",
        bugs: &["NV-00", "RM-01"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-82",
        text: "P-80 and P-81 hold for each kind of transition: HVC, SVC, stage 2 abort, IRQ, SError, \
            trapped system register; ERET, ERETAA, ERETAB, illegal return, ERET to EL2t and to EL0.",
        follows: "one register file; exception model",
        bugs: &["NV-00", "LZ-20", "RM-02"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-83",
        text: "P-80 and P-81 hold if an interrupt, a preemption or a migration falls just before, into or \
            just after the emulated transition.",
        follows: "one register file; transparency of the hypervisor",
        bugs: &["NV-00", "NV-03"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-84",
        text: "FPEN, ZEN and TCPAC of L1's CPTR_EL2 count for L2 from its next instruction on, also when \
            the hypervisor holds L2's state in the registers.",
        follows: "CPTR_EL2",
        bugs: &["NV-11", "NV-12"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-85",
        text: "An FP or SVE instruction of L2 that L1 traps reaches L1 once, with the right EC, ISS and \
            ELR.",
        follows: "CPTR_EL2; ESR_EL2, EC 0x07 and 0x19",
        bugs: &["NV-10", "HK-06"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-86",
        text: "The vector length of L2 is the largest that the CPU has and that neither the guest's \
            maximum, L1's ZCR_EL2 nor L2's ZCR_EL1 forbids.",
        follows: "ZCR_EL1, ZCR_EL2 (D24.2)",
        bugs: &["NV-01", "NV-06"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-87",
        text: "ZCR_EL2 and CPTR_EL2 of L1, and ZCR_EL1 and CPACR_EL1 of L2, are registers apart, and keep \
            their values over any mix of transitions.",
        follows: "FEAT_NV2",
        bugs: &["NV-03", "NV-07"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-88",
        text: "What L1 reads as CPACR_EL1 and ZCR_EL1 of L2, and as HCRX_EL2, is what L2 runs with, \
            wherever the hypervisor keeps it.",
        follows: "FEAT_NV2: the VNCR_EL2 page",
        bugs: &["NV-07", "NV-14"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-89",
        text: "Two L2s that one L1 switches lazily never see each other's registers.",
        follows: "R_PXZTM; one register file",
        bugs: &["NV-10", "RM-01"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-90",
        text: "L1's own FP and SVE use traps to L1 as its own CPTR_EL2 asks for.",
        follows: "CPTR_EL2 with E2H at 1",
        bugs: &["NV-14"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-91",
        text: "The rules of preservation hold for L1 and L2 each, with different vector lengths and trap \
            settings.",
        follows: "I_FMWZZ, I_BRMMV",
        bugs: &["NV-05"],
        area: Area::Nested,
        scope: Scope::OneCpu,
    },
    Rule {
        id: "P-95",
        text: "Every register that KVM_GET_REG_LIST lists can be read, and each writable one takes the \
            value read; KVM_REG_ARM64_SVE_VLS is listed, and read-only once finalized.",
        follows: "KVM api.rst 4.84",
        bugs: &["UA-01", "UA-04"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-96",
        text: "A register that was set reads back, is what the guest finds, and after the guest wrote it \
            reads as what the guest wrote.",
        follows: "KVM api.rst",
        bugs: &["PK-10", "HK-07", "HK-14"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-97",
        text: "FPSR, FPCR and V have their published ids, and the ids of V fail on a vCPU with SVE.",
        follows: "KVM api.rst",
        bugs: &["UA-03", "UA-06", "UA-11"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-98",
        text: "Slices of Z, P and FFR have their published ids; a slice above the largest vector length \
            gives ENOENT.",
        follows: "KVM api.rst",
        bugs: &["UA-09"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-99",
        text: "KVM_REG_ARM64_SVE_VLS takes any set of all lengths up to one between KVM_ARM_VCPU_INIT and \
            KVM_ARM_VCPU_FINALIZE, EINVAL answers an invalid set, and EPERM a later write.",
        follows: "KVM api.rst",
        bugs: &["UA-02", "UA-08"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-100",
        text: "KVM_RUN and KVM_GET_REG_LIST fail with EPERM on a vCPU with SVE that is not finalized.",
        follows: "KVM api.rst",
        bugs: &["UA-10"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-101",
        text: "Bits of a Z or P register above the vCPU's largest vector length read as zero.",
        follows: "KVM: padding is cleared",
        bugs: &["UA-09", "PK-03"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-102",
        text: "A guest that is saved and restored into a fresh vCPU notices nothing: FPMR, ZCR of each \
            level, the set of lengths and the registers of EL2 included.",
        follows: "migration",
        bugs: &["UA-07", "UA-08"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
    Rule {
        id: "P-103",
        text: "A failed KVM_ARM_VCPU_INIT or KVM_ARM_VCPU_FINALIZE of one vCPU leaves the others as they \
            were.",
        follows: "robustness",
        bugs: &["PK-06", "TR-09", "UA-05"],
        area: Area::RegisterAbi,
        scope: Scope::RegisterAbi,
    },
];
