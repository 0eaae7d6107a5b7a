//! Every kind of error in a scenario file has its line, its column and its words.

use model::scenario::parse;

const HEAD: &str = "title = \"t\"\nrules = [\"P-80\"]\n";

/// Checks that the whole file `text` gives `expected`, which is `line:column: message`.
#[track_caller]
fn check(text: &str, expected: &str) {
    let error = match parse("a::b", "suites/a/b.toml", text) {
        Ok(scenario) => panic!("no error, but\n{}", scenario.print()),
        Err(error) => error,
    };
    assert_eq!(format!("{}:{}: {}", error.line, error.column, error.message), expected, "in\n{text}");
    let line = text.split('\n').nth(error.line as usize - 1).unwrap_or_default();
    assert!(error.to_string().starts_with(&format!("suites/a/b.toml:{expected}\n")), "{error}");
    assert_eq!(error.excerpt, line.chars().take(160).collect::<String>());
}

/// Checks one step, on line 4 of its file.
#[track_caller]
fn step(step: &str, expected: &str) {
    check(&format!("{HEAD}steps = \"\"\"\n{step}\n\"\"\"\n"), &format!("4:{expected}"));
}

/// Checks two steps under `tables`, of which the second is wrong.
#[track_caller]
fn step_in(tables: &str, step: &str, expected: &str) {
    let lines = tables.matches('\n').count();
    let text = format!("{HEAD}{tables}steps = \"\"\"\n{step}\n\"\"\"\n");
    check(&text, &format!("{}:{expected}", 5 + lines));
}

#[test]
fn a_whole_message() {
    let text = format!("{HEAD}steps = \"\"\"\nL1  fill z\nL1  erte L2  # go\n\"\"\"\n");
    let error = parse("a::b", "suites/a/b.toml", &text).unwrap_err();
    let expected = "\
suites/a/b.toml:5:5: found `erte`, expected a verb; did you mean `eret`?
 5 | L1  erte L2  # go
   |     ^^^^";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn toml_itself() {
    check("title = ", "1:9: string values must be quoted, expected literal string");
    check("title = \"a\ntitle = 1", "1:11: invalid basic string, expected `\"`");
    check("title = \"a\"\ntitle = \"b\"\n", "2:1: duplicate key");
}

#[test]
fn keys() {
    check("", "1:1: the key `title` is missing");
    check("title = \"t\"\n", "1:1: the key `rules` is missing");
    check(HEAD, "1:1: the key `steps` is missing");
    check(&format!("{HEAD}titel = 1\n"), "3:1: found `titel`, expected a key; did you mean `title`?");
    check(
        &format!("{HEAD}since = 1\n"),
        "3:1: found `since`, expected a key: title, rules, why, machine, matrix, except, sweep, steps",
    );
    check("title = 3\nrules = [\"P-80\"]\n", "1:9: found an integer, expected a string");
    check("title = \" \"\n", "1:9: `title` is empty");
    check("title = \"a\\nb\"\n", "1:9: `title` is one line, without control characters");
    check(&format!("{HEAD}why = \"\"\n"), "3:7: `why` is empty");
    check(&format!("{HEAD}why = \"a\\tb\"\n"), "3:7: `why` has control characters");
}

#[test]
fn rules() {
    check("title = \"t\"\nrules = []\n", "2:9: the list `rules` is empty");
    check("title = \"t\"\nrules = \"P-80\"\n", "2:9: found a string, expected a list");
    check("title = \"t\"\nrules = [\"P-80\", 81]\n", "2:18: found an integer, expected a string");
    check("title = \"t\"\nrules = [\"P-800\"]\n", "2:10: there is no rule `P-800`; did you mean `P-80`?");
    check("title = \"t\"\nrules = [\"DDI0487\"]\n", "2:10: there is no rule `DDI0487`");
    check("title = \"t\"\nrules = [\"P-80\", \"P-80\"]\n", "2:18: rule P-80 is in the list already");
}

#[test]
fn machine() {
    for (setting, expected) in [
        ("l2 = 1", "4:1: found `l2`, expected a setting: l1, cpu, sve, max_vl, fpmr, mmu, stage2, cold"),
        ("stage_2 = 1", "4:1: found `stage_2`, expected a setting; did you mean `stage2`?"),
        ("l1 = \"hvhe\"", "4:6: found `hvhe`, expected a mode of L1; did you mean `vhe`?"),
        ("l1 = true", "4:6: found `true`, expected a mode of L1 as a string"),
        ("cpu = \"maximal\"", "4:7: found `maximal`, expected a CPU: max, all-lengths"),
        ("sve = \"true\"", "4:7: found `true`, expected true or false"),
        ("max_vl = 100", "4:10: found `100`, expected a multiple of 128 bits up to 2048"),
        ("max_vl = 0", "4:10: found `0`, expected a multiple of 128 bits up to 2048"),
        ("max_vl = -128", "4:10: expected a number from 0 to 2^64 - 1"),
        ("max_vl = 384", "4:1: no CPU but `all-lengths` has the vector length 384"),
        ("max_vl = 1.5", "4:10: found a float, expected a string, a number or a switch"),
    ] {
        check(&format!("{HEAD}[machine]\n{setting}\nsteps = \"\"\"\nL1 wfi\n\"\"\"\n"), expected);
    }
    check(
        &format!("{HEAD}[machine]\nsve = false\nmax_vl = 256\nsteps = \"\"\"\nL1 wfi\n\"\"\"\n"),
        "5:1: without SVE the vector length is 128, not 256",
    );
    check(
        &format!("{HEAD}[machine]\nl1 = \"vhe\"\nsteps = \"\"\"\nG wfi\n\"\"\"\n"),
        "4:1: `l1` is a setting of L1, and this scenario has none",
    );
    check(
        &format!("{HEAD}machine = 1\nsteps = \"\"\"\nG wfi\n\"\"\"\n"),
        "3:11: found an integer, expected a table",
    );
}

#[test]
fn matrix() {
    let file = |axes: &str, steps: &str| format!("{HEAD}[matrix]\n{axes}\nsteps = \"\"\"\n{steps}\n\"\"\"\n");
    check(&file("vl = []", "L1 vl $vl"), "4:6: the list `vl` is empty");
    check(&file("vl = \"min\"", "L1 vl $vl"), "4:6: found a string, expected a list");
    check(
        &file("Vl = [1]", "L1 wfi"),
        "4:1: expected a name of lower-case letters, digits and `_`, other than `reason`",
    );
    check(
        &file("reason = [1]", "L1 wfi"),
        "4:1: expected a name of lower-case letters, digits and `_`, other than `reason`",
    );
    check(&file("vl = [\"min\", \"min\"]", "L1 vl $vl"), "4:14: `min` is in the list already");
    check(&file("vl = [128, \"128\"]", "L1 vl $vl"), "4:12: `128` is in the list already");
    check(
        &file("vl = [\"a=b\"]", "L1 vl $vl"),
        "4:7: expected words of letters, digits, `_`, `-` and `.`, one space between them, at most 64 in all",
    );
    check(&file("vl = [\"min\"]", "L1 vl max"), "4:1: no step uses `$vl`");
    check(
        &file("vl = [\"min\"]", "L1 vl $vll"),
        "6:7: found `vll`, expected an axis of the matrix; did you mean `vl`?",
    );
    check(
        &file("length = [\"min\"]", "L1 vl $lenght"),
        "6:7: found `lenght`, expected an axis of the matrix; did you mean `length`?",
    );
    check(&file("vl = [\"min\"]", "L1 vl $"), "6:7: expected the name of an axis of the matrix after `$`");
    check(
        &format!("{HEAD}steps = \"\"\"\nL1 vl $vl\n\"\"\"\n"),
        "4:7: found `$vl`, and there is no [matrix]",
    );
    check(&file("l1 = [\"vhe\", \"evh\"]", "L1 wfi"), "4:14: found `evh`, expected a mode of L1: vhe, nvhe");
    check(
        &file("vl = [\"min\", \"mix\"]", "L1  vl  $vl"),
        "6:9: found `mix`, expected min, mid, max or a multiple of 128 bits up to 2048 (in [vl=mix])",
    );
    check(
        &file("n = [1, 32]", "L1 fill z0-$n"),
        "6:9: there is no register z32, the last is z31 (in [n=32])",
    );
    check(
        &file("a = [\"z\", \"ffr x\"]", "L1 fill $a v3 # x"),
        "6:12: V registers and SVE state in one step: choose v, or z with p and ffr (in [a=z])",
    );
    check(
        &file("a = [\"p\", \"ffr x\"]", "L1 fill $a z3 # x"),
        "6:9: found `x`, expected a register: all, z, v, p, ffr, fpsr, fpcr, fpmr (in [a=ffr+x])",
    );
    let many = format!("a = [{0}]\nb = [{0}]", (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join(", "));
    check(&file(&many, "L1 churn $a$b"), "3:2: a scenario has at most 4096 cases");
    check(
        &format!("{HEAD}[machine]\nl1 = \"vhe\"\n[matrix]\nl1 = [\"vhe\"]\nsteps = \"\"\"\nL1 wfi\n\"\"\"\n"),
        "4:1: `l1` is an axis of the matrix already",
    );
}

#[test]
fn except() {
    let file = |except: &str| {
        format!(
            "{HEAD}[matrix]\nvl = [\"min\", \"max\"]\n[[except]]\n{except}\nsteps = \"\"\"\nL1 vl $vl\n\"\"\"\n"
        )
    };
    check(&file("vl = \"min\""), "5:1: the key `reason` of [[except]] is missing");
    check(&file("reason = \"r\""), "5:1: an [[except]] names at least one axis of the matrix");
    check(&file("vl = \"mid\"\nreason = \"r\""), "6:6: `vl` has no value `mid`");
    check(&file("vl = [\"min\", \"min\"]\nreason = \"r\""), "6:14: `min` is in the list already");
    check(
        &file("lv = \"min\"\nreason = \"r\""),
        "6:1: found `lv`, expected an axis of the matrix, or `reason`: vl, reason",
    );
    check(&file("vl = [\"min\", \"max\"]\nreason = \"r\""), "3:2: the [[except]]s leave no case");
    check(&file("vl = \"min\"\nreason = \"\""), "7:10: `reason` is empty");
}

#[test]
fn sweep() {
    let file = |sweep: &str| format!("{HEAD}[sweep]\n{sweep}\nsteps = \"\"\"\nL1 wfi\n\"\"\"\n");
    check(&file("disturb = \"clobber\""), "3:2: the key `kind` of [sweep] is missing");
    check(
        &file("kind = \"step\""),
        "4:8: found `step`, expected a kind of sweep: step-all, step-each, timer",
    );
    check(
        &file("kind = \"timer\"\ndisturb = \"none\""),
        "5:11: a sweep disturbs at each point: leave out [sweep] to have none",
    );
    check(&file("kind = \"timer\"\nwhen = 1"), "5:1: found `when`, expected a key of [sweep]: kind, disturb");
}

#[test]
fn steps_as_a_whole() {
    check(&format!("{HEAD}steps = 1\n"), "3:9: found an integer, expected a string");
    check(
        &format!("{HEAD}steps = \"L1 wfi\"\n"),
        "3:9: expected the steps between three quotation marks, one to a line",
    );
    check(&format!("{HEAD}steps = \"\"\"\n\n# L1 wfi\n\"\"\"\n"), "3:1: there are no steps");
    check(&format!("{HEAD}steps = \"\"\"\nL1 wfi \\n\n\"\"\"\n"), "4:8: steps have no backslashes");
    check(&format!("{HEAD}steps = '''\nL1 wfi # \"\"\"\n'''\n"), "4:10: steps have no three quotation marks");
    check(
        &format!("{HEAD}steps = \"\"\"\nL1 wfi\n\"\"\"\n[machine]\nsteps = \"\"\"\nL1 wfi\n\"\"\"\n"),
        "7:1: `steps` stands there twice",
    );
    step(&format!("L1 {}", "wfi ".repeat(100)), "1: a step has at most 256 bytes");
    check(
        &format!("{HEAD}steps = \"\"\"\n{}\"\"\"\n", "L1 wfi\n".repeat(1025)),
        "1028:1: a scenario has at most 1024 steps",
    );
    check(
        &" ".repeat(300_000).replacen(' ', "#", 1).replacen(' ', "\n", 1),
        "1:1: a scenario file has at most 262144 bytes",
    );
}

#[test]
fn places_and_verbs() {
    step("l1 wfi", "1: found `l1`, expected a place; did you mean `L1`?");
    step("L3 wfi", "1: found `L3`, expected a place: L1, L1.el0, L2, L2.el0, L2b, G, G.el0");
    step("L1.el1 wfi", "1: found `L1.el1`, expected a place; did you mean `L1.el0`?");
    step("  L1", "5: the step ends here, expected a verb");
    step("L1 fil z", "4: found `fil`, expected a verb; did you mean `fill`?");
    step("L1 wfe z", "8: found `z`, expected the end of the step");
    step("L1 wfi time", "8: found `time`, expected what ends the wait; did you mean `timer`?");
    step("L1 timer", "9: the step ends here, expected spin or wfi");
    step("L1 timer spn", "10: found `spn`, expected a way to wait; did you mean `spin`?");
    step(
        "L1 wfi timer timer",
        "14: found `timer`, expected a disturbance: none, clobber, preempt, host-simd, other-vcpu, migrate, save-restore",
    );
}

#[test]
fn registers() {
    step(
        "L1 fill",
        "8: the step ends here, expected registers: all, z, v, p, ffr, fpsr, fpcr, fpmr, z3, v0-7, …",
    );
    step("L1 fill x", "9: found `x`, expected a register: all, z, v, p, ffr, fpsr, fpcr, fpmr");
    step("L1 fill fprs", "9: found `fprs`, expected a register; did you mean `fpsr`?");
    step("L1 fill z32", "9: there is no register z32, the last is z31");
    step("L1 fill p0-16", "9: there is no register p16, the last is p15");
    step("L1 fill z7-3", "9: z7 comes after z3");
    step("L1 fill z0x3", "9: found `z0x3`, expected a register: all, z, v, p, ffr, fpsr, fpcr, fpmr");
    step("L1 fill z+3", "9: found `z+3`, expected a register: all, z, v, p, ffr, fpsr, fpcr, fpmr");
    step("L1 fill z0-3 z2", "14: `z2` is in the list already");
    step("L1 fill all z", "13: found `z`, expected the end of the step");
    step("L1 fill z all", "11: `all` stands alone");
    for list in ["v z", "z v", "p v", "v p", "ffr v", "v ffr", "v3 z4", "z4 v3"] {
        let column = 9 + list.find(' ').unwrap() + 1;
        let message = "V registers and SVE state in one step: choose v, or z with p and ffr";
        step(&format!("L1 fill {list}"), &format!("{column}: {message}"));
    }
}

#[test]
fn controls() {
    step("L1 set", "7: the step ends here, expected a control register");
    step("L1 set cptr_el2.fpen", "21: the step ends here, expected a value");
    step("L1 set cptr_el3 1", "8: found `cptr_el3`, expected a system register; did you mean `cptr_el2`?");
    step("L1 set x 1", "8: found `x`, expected a system register as the Arm ARM names it, in lower case");
    step("L1 set cptr_el2.fpenn 1", "8: found `fpenn`, expected a field; did you mean `fpen`?");
    step("L1 set zcr_el2.x 1", "8: found `x`, expected a field: len");
    step("L1 set fpcr.len 1", "8: found `len`, expected no field: the whole register");
    step("L1 set l2.cptr_el2 1", "8: found `cptr_el2`, expected a register of L2; did you mean `cpacr_el1`?");
    step("L1 set cptr_el2.fpen 4", "22: 0x4 is out of range: expected a value of fpen, 0 to 3");
    step("L1 set cptr_el2.fpen 0x", "22: found `0x`, expected a value of fpen");
    step("L1 set fpcr -1", "13: found `-1`, expected a value");
    step("L1 set fpcr 0x10000000000000000", "13: found `0x10000000000000000`, expected a value");
    step("L1 set currentel 1", "1: currentel is read-only");
    step("L1 expect zcr_el4", "11: found `zcr_el4`, expected a system register; did you mean `zcr_el1`?");
    step("L1 expect trap", "15: the step ends here, expected ec=0x19");
    step("L1 expect trap 0x19", "16: found `0x19`, expected an exception class, ec=0x00 to ec=0x3f");
    step("L1 expect trap ec=0x40", "16: found `ec=0x40`, expected an exception class, ec=0x00 to ec=0x3f");
    step("L1 expect vl 3", "14: found `3`, expected the end of the step");
    step("L1 expect", "10: the step ends here, expected registers, a control register, vl or trap");
}

#[test]
fn other_operands() {
    step("L1 vl 100", "7: found `100`, expected min, mid, max or a multiple of 128 bits up to 2048");
    step("L1 vl 2176", "7: found `2176`, expected min, mid, max or a multiple of 128 bits up to 2048");
    step("L1 trap sme", "9: found `sme`, expected a unit; did you mean `sve`?");
    step("L1 touch", "9: the step ends here, expected an instruction: v, z, p, ffr, …");
    step("L1 touch rdlv", "10: found `rdlv`, expected an instruction; did you mean `rdvl`?");
    step("L1 churn 0", "10: 0x0 is out of range: expected rounds, 1 to 1048576");
    step("L1 churn many", "10: found `many`, expected rounds");
    step("L1 eret", "8: the step ends here, expected a place, L1t, back, skip or illegal");
    step("L1 eret bakc", "9: found `bakc`, expected where to; did you mean `back`?");
    step("L1 eret L2 ac", "12: found `ac`, expected authentication: plain, aa, ab, aa-bad, ab-bad");
    step(
        "G smc cpu_suspend",
        "7: found `cpu_suspend`, expected an immediate or a call of firmware; did you mean `cpu-suspend`?",
    );
    step("G smc 5", "7: found `5`, expected an immediate or a call of firmware: #imm, cpu-suspend");
    step("G smc #0x10000", "7: found `#0x10000`, expected an immediate, #0 to #0xffff");
    step("G smc cpu-suspend #1", "19: found `#1`, expected the end of the step");
    step("L1 hvc 1", "8: found `1`, expected an immediate, #0 to #0xffff");
    step("L1 hvc #0x10000", "8: found `#0x10000`, expected an immediate, #0 to #0xffff");
    step("L1 abort stage3", "10: found `stage3`, expected a stage; did you mean `stage1`?");
    step("L1 pend fiq", "9: found `fiq`, expected an interrupt: irq, serror, virq, vserror");
    step(
        "L1 disturb unplug",
        "12: found `unplug`, expected a disturbance: none, clobber, preempt, host-simd, other-vcpu, migrate, save-restore",
    );
    step("L1 sweep", "9: the step ends here, expected on or off");
}

#[test]
fn steps_that_do_not_go_together() {
    step("L2 wfi", "1: a scenario begins at L1 or G, not at L2");
    step("G.el0 wfi", "1: a scenario begins at L1 or G, not at G.el0");
    step_in(
        "",
        "L1 wfi\n  G wfi # x",
        "3: L1 and G in one scenario: a guest has an EL2 of its own or it has none",
    );
}

#[test]
fn sense_needs_the_guest() {
    let nvhe = "[machine]\nl1 = \"nvhe\"\n";
    let both = "[matrix]\nl1 = [\"vhe\", \"nvhe\"]\n";
    let second = |tables, line: &str, expected: &str| step_in(tables, &format!("L1 wfi\n{line}"), expected);
    second("", "L1 eret G", "1: L1 and G in one scenario: a guest has an EL2 of its own or it has none");
    second("", "L1.el0 wfi timer", "1: L1.el0 has no timer that sends interrupts");
    second("", "L1.el0 timer wfi", "1: L1.el0 may not wait: that is SCTLR_ELx.nTWI, which no step sets");
    second(
        "",
        "L1 wfi timer host-simd",
        "1: a vCPU that waits gives its CPU to others, by preempt or other-vcpu, not by host-simd",
    );
    second(nvhe, "L1.el0 wfi", "1: L1.el0 is there with l1 = vhe only: it needs HCR_EL2.{E2H,TGE} = {1,1}");
    second(
        both,
        "L1 eret L1.el0",
        "1: L1.el0 is there with l1 = vhe only: it needs HCR_EL2.{E2H,TGE} = {1,1} (in [l1=nvhe])",
    );
    second(
        both,
        "L1 set cptr_el2.zen 1",
        "1: found `zen`, expected a field of cptr_el2 as L1 has it here: tz, tfp, tsm, tta, tcpac (in [l1=nvhe])",
    );
    second(
        both,
        "L1 set cptr_el2.tfp 1",
        "1: found `tfp`, expected a field of cptr_el2 as L1 has it here: zen, fpen, smen, tta, e0poe, tcpac (in [l1=vhe])",
    );
    second(
        nvhe,
        "L1 expect zcr_el12",
        "1: zcr_el12 is an accessor of a VHE L1: `l2.` names that register in any mode of L1",
    );
    second("", "L2 expect zcr_el2", "1: only L1 reaches zcr_el2");
    second("", "L2 expect l2.zcr_el1", "1: only L1 reaches l2.zcr_el1; at L2 it is zcr_el1");
    second("", "L2.el0 expect cpacr_el1", "1: L2.el0 does not reach cpacr_el1");
    second("", "L2.el0 vl min", "1: L2.el0 has no ZCR");
    second("", "L2.el0 trap fp", "1: L2.el0 has no level below");
    second("", "L2.el0 eret back", "1: L2.el0 has no ERET");
    second("", "L2.el0 map stage1", "1: L2.el0 has no page tables");
    second("", "L2 eret L1t", "1: L1t is reached from L1 only");
    second("", "L2 eret L1", "1: no ERET of L2 reaches L1");
    second("", "L2b eret L2.el0", "1: no ERET of L2b reaches L2.el0");
    second("", "L2 unmap stage2", "1: L2 has no stage 2: L1 has");
    second("", "L1 abort stage2", "1: L1 runs under no stage 2 of L1");
    second("", "L2 pend virq", "1: L2 has no HCR_EL2: virtual interrupts are made by L1");
    second("[machine]\nstage2 = false\n", "L2 abort stage2", "1: L1 has no stage 2 with stage2 = false");
    second("[machine]\nmmu = false\n", "L2 abort stage1", "1: there is no stage 1 with mmu = false");
    second("[machine]\nsve = false\n", "L2 vl min", "1: there are no vector lengths with sve = false");
    second("[machine]\nmax_vl = 256\n", "L2 vl 512", "1: the guest's largest vector length is 256, not 512");
    second("", "L2 vl 384", "1: no CPU but `all-lengths` has the vector length 384");
    second("", "L1 sweep on", "1: no `sweep off` closes this window");
    second("", "L1 sweep off", "1: there is no open window");
    step_in("", "L1 sweep on\nL1 sweep on", "1: the window is open already");
}
