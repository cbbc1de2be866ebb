// SPDX-License-Identifier: GPL-2.0

//! Cases of programs that draw on a DRM device, whose screen is compared pixel by pixel.

use super::{
    case,
    crash::{background, provoke, trigger, BOTH, SYSRQ, TRACE},
    displays::{same_text_on, with_second, TWO},
    fixtures::{equal, times, ALONE, FBCON, WAITING},
    group,
    handover::changed_hands,
    Case,
    Expect::{Dies, Own, Text},
    Group,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};
use vm::{
    config::Need,
    guests::{Guests, GPU, READY},
    painted::{self, Painted},
    qemu::{Machine, Vm},
    screen::Picture,
    vnc::Viewer,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[Need::Vt, Need::Kms])];

const CASES: &[Case] = &[
    case("kms-native", Own(every_step), |guests| {
        native(guests, EVERY_STEP)
    }),
    case("kms-bridge", Own(every_step), |guests| {
        bridge(guests, EVERY_STEP)
    }),
    case("kms-bridge-repaint", Own(every_step), |guests| {
        bridge(guests, EVERY_STEP).append("virtgpu_bridge.scroll=repaint")
    }),
    case("kms-bridge-random", Own(survives_random), |guests| {
        bridge(
            guests,
            "open show=1 random=1:3000 close open show=2 wait hold",
        )
    }),
    case("kms-bridge-killed", Own(killed), |guests| {
        bridge(guests, "open show=1 wait hold")
            .append("vm.wait vm.do=kill,-9,$! vm.do=busybox,sleep,1 vm.lines=60")
    }),
    case("kms-bridge-master", Own(has_masters), |guests| {
        bridge(guests, MASTERS)
    }),
    case(
        "kms-bridge-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            bridge(guests, "open show=1 say=shown flip=100000 hold")
                .append("vm.do=busybox,sleep,3")
                .append(SYSRQ)
        },
    )
    .on(BOTH),
    case(
        "kms-bridge-panic-in-paint",
        Dies(&["crash test", TRACE]),
        |guests| {
            bridge(guests, "open show=1 say=shown flip=100000 hold")
                .append("vm.do=busybox,sleep,3")
                .append(&trigger("paint-panic"))
                .append("vm.do=busybox,sleep,3")
        },
    )
    .on(BOTH),
    // A process has the console lock for some seconds, so that tty0 does not print the warning.
    case("kms-bridge-warning", Own(returns), |guests| {
        let steps = "open show=1 graphics say=shown sleep=15000 wait hold";
        let machine = bridge(guests, steps).append("vm.do=busybox,sleep,2");
        let machine = machine.append(&background("hold-short"));
        provoke(machine, "WARNING")
    })
    .needs(&[Need::SpinningLocks]),
    case("kms-bridge-suspend", Own(sleeps), |guests| {
        bridge(
            guests,
            "open show=1 say=shown sleep=9000 dirty=10:20:100:20:3 wait hold",
        )
        .append("vm.do=busybox,sleep,2 vm.sleep=freeze vm.lines=3")
    }),
    case("kms-bridge-off", Own(stays_dark), |guests| {
        bridge(guests, "open show=1 off say=shown sleep=9000 wait hold")
            .append("vm.do=busybox,sleep,2 vm.sleep=freeze vm.lines=3")
    }),
    // That turns the CRTC off, but was not the master any more.
    case("kms-bridge-next-master", Own(has_text), |guests| {
        bridge(guests, "open show=1 drop close open wait hold")
    }),
    // A new font makes a new resource for the text.
    case("kms-bridge-font", Own(keeps_picture), |guests| {
        bridge(guests, "open show=1 say=shown sleep=6000 wait hold")
            .append("vm.do=busybox,sleep,1 vm.font=/8x22.psf")
    }),
    // The terminal is blanked meanwhile, and again by the time that the text is back.
    case("kms-bridge-blank", Own(is_not_blanked), |guests| {
        bridge(
            guests,
            "open show=1 say=shown sleep=5000 wait close sleep=4000 say=closed hold",
        )
        .append("consoleblank=2")
    }),
    case("kms-bridge-two-displays", Own(on_both), |guests| {
        let steps = "vm.do=kms,open,info,show=1,dirty=600:700:300:300:4,wait,close,wait,hold,&";
        let machine = guests.vt().append("vm.lines=60").append(steps);
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("kms-bridge-plug", Own(plugged), |guests| {
        let steps = "vm.do=kms,open,show=1,wait,hotplug,show=2,wait,hotplug,show=3,wait,hold,&";
        let machine = guests.vt().append("vm.lines=60").append(steps);
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("kms-bridge-smaller-mode", Own(has_smaller), |guests| {
        bridge(
            guests,
            "open show=1 mode=800:600 show=2 wait dirty=700:500:100:100:3 wait hold",
        )
    }),
    // The first part is above the screen, the second one in part, the third one right of it.
    case("kms-bridge-beyond", Own(shows_what_is_visible), |guests| {
        bridge(
            guests,
            "open show=1 beyond=30:50:2 wait dirty=0:30:900:10:3 dirty=10:40:100:30:4 \
            dirty=1305:400:20:20:5 wait close wait hold",
        )
    }),
    // This program does not follow.
    case("kms-bridge-grows", Own(stays_small), |guests| {
        bridge(
            guests,
            "open show=1 wait hotplug dirty=0:0:20:20:2 wait hold",
        )
    }),
    case("kms-bridge-resize", Own(follows), |guests| {
        bridge(guests, "open info show=1 wait hotplug show=2 wait hold")
    }),
    case("kms-bridge-same-size", Own(hears), |guests| {
        bridge(guests, "open show=1 wait hotplug wait hold")
    }),
    case("kms-edid", Own(has_same_edid), |guests| {
        let guest = guests.modular().append(BRIDGE_FIRST);
        guest
            .append("vm.do=kms,open,info vm.native vm.do=kms,open,info")
            .direct()
            .device(GPU)
    })
    .needs(&[Need::NativeModules]),
    case("kms-edid-off", Own(has_no_edid), |guests| {
        let steps = "open info show=1 wait hold";
        drawing_on(
            guests.vt().append("earlycon=virtgpu vm.lines=60"),
            &format!("{GPU},edid=off"),
            steps,
        )
    }),
    // virtio_gpu has the same alias, and refuses with nomodeset.
    case("kms-bridge-module", Own(comes_and_goes), |guests| {
        let draws =
            "vm.do=kms,open,info,show=1,wait,close vm.rmmod=virtgpu_bridge_kms vm.lines=60 ";
        let machine = guests
            .modular()
            .append("console=tty0 nomodeset vm.lines=60 vm.modprobe");
        machine
            .append(draws)
            .append("vm.wait vm.modprobe")
            .append(draws)
            .direct()
            .device(GPU)
    })
    .needs(&[Need::NativeModules]),
    case("kms-bridge-cost", Own(costs), |guests| {
        bridge(
            guests,
            "open show=1 cost=1000:100:100:20:20 cost=0:0:1280:800:5 say=counted hold",
        )
        .option("-icount", "shift=0,sleep=off")
        .option("-smp", "1")
    })
    .needs(&[Need::NoKasan]),
    case("kms-module", Own(every_step), |guests| {
        module_and_log(guests, EVERY_STEP)
    }),
    // DRM shows the buffer of fbdev emulation when the device is closed, which fbcon does not draw
    // in here.
    case("kms-module-fbdev", Own(has_text), |guests| {
        module(guests, "open close wait hold").append("fbcon=map:1")
    }),
    case("kms-module-master", Own(has_masters), |guests| {
        module_and_log(guests, MASTERS)
    }),
    // Lines are written while the KMS driver owns the screen.
    case("kms-module-killed", Own(killed), |guests| {
        module_and_log(guests, "open show=1 flip=300 wait hold")
            .append("vm.do=pid=$! vm.ticks vm.do=busybox,sleep,3 vm.noise=0 vm.wait")
            .append("vm.do=kill,-9,$pid vm.do=busybox,sleep,1")
    }),
    case("kms-module-vt", Own(has_terminal), |guests| {
        module(
            guests,
            "open show=1 say=shown sleep=3000 wait close wait hold",
        )
        .append(LINE_OF_TERMINAL)
        .append("vm.do=busybox,sleep,2 vm.do=echo,written,meanwhile,>/dev/tty1")
    }),
    case(
        "kms-module-vt-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            let machine = with_modules(guests).append(LINE_OF_TERMINAL);
            let machine = machine.append("vm.do=busybox,sleep,1").append(SYSRQ);
            machine.direct().device(GPU)
        },
    )
    .on(BOTH),
    case(
        "kms-module-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            module(guests, "open show=1 say=shown flip=100000 hold")
                .append("vm.do=busybox,sleep,3")
                .append(SYSRQ)
        },
    )
    .on(BOTH),
    case("kms-module-suspend", Own(sleeps), |guests| {
        module_and_log(
            guests,
            "open show=1 say=shown sleep=9000 dirty=10:20:100:20:3 wait hold",
        )
        .append("vm.do=busybox,sleep,2 vm.sleep=freeze vm.lines=3")
    }),
    case("kms-module-resize", Own(follows), |guests| {
        module_and_log(guests, "open info show=1 wait hotplug show=2 wait hold")
    }),
    case("kms-module-same-size", Own(hears), |guests| {
        module_and_log(guests, "open show=1 wait hotplug wait hold")
    }),
    case("kms-module-vt-resize", Own(terminal_follows), |guests| {
        with_modules(guests)
            .append(LINE_OF_TERMINAL)
            .append("vm.wait vm.do=echo,written,meanwhile,>/dev/tty1")
            .direct()
            .device(GPU)
    }),
    // DRM knows no mode of this size.
    case("kms-module-vt-grows", Own(terminal_stays_whole), |guests| {
        let line = format!("vm.do=echo,{},>/dev/tty1", "x".repeat(140));
        with_modules(guests)
            .append(&line)
            .direct()
            .device("virtio-gpu-pci,xres=1234,yres=740")
    }),
    case("kms-module-again", Own(comes_and_goes), |guests| {
        let draws = "vm.do=kms,open,info,show=1,wait,close vm.rmmod=virtgpu_bridge_kms \
            vm.lines=60 ";
        let machine = with_modules(guests).append(LINE_OF_TERMINAL).append(draws);
        machine
            .append("vm.wait vm.rmmod=virtgpu_bridge")
            .append(INSMOD)
            .append(draws)
            .direct()
            .device(GPU)
    }),
    case("kms-module-unbind", Own(binds_again), |guests| {
        let steps = "open show=1 say=shown flip=100000 hold";
        module(guests, steps).append(
            "vm.do=busybox,sleep,2 vm.unbind=virtgpu_bridge vm.lines=3 vm.bind=virtgpu_bridge \
            vm.do=kms,open=/dev/dri/card1,show=2,wait,close \
            vm.do=echo,the,terminal,again,>/dev/tty1",
        )
    }),
    case("kms-module-gives-back", Text, |guests| {
        let lent = guests.plain().append("vm.unbind=virtio-pci").append(INSMOD);
        lent.append("vm.do=kms,open,show=1,close")
            .append("vm.rmmod=virtgpu_bridge_kms vm.rmmod=virtgpu_bridge vm.bind=virtio-pci")
            .append(FBCON)
            .device(GPU)
    }),
    case("kms-bridge-handover", Own(gives_way), |guests| {
        handover(guests).append("vm.native vm.lines=60")
    }),
    case("kms-bridge-ten-handovers", Own(gives_way_often), |guests| {
        let again = "vm.native vm.lines=3 vm.native=0 vm.lines=3 ".repeat(10);
        handover(guests).append(&format!("{again}vm.lines=60"))
    }),
];

/// Steps that draw in each way.
const EVERY_STEP: &str = "open info show=1 wait dirty=10:20:100:20:3 wait \
    dirty=1200:700:300:300:4 wait atomic=5 wait damage=333:77:55:111:6 wait flip=9 wait off \
    say=dark hold";

/// Steps of a program that becomes the master, and ceases to be that.
const MASTERS: &str = "open show=1 wait drop wait master wait graphics drop wait text wait \
    master wait closefb close wait hold";

/// Loads the driver as modules.
const INSMOD: &str = "vm.insmod=/plain/virtgpu_bridge.ko vm.insmod=/plain/virtgpu_bridge_kms.ko";

/// Writes a line to a terminal, whose text is not the log.
const LINE_OF_TERMINAL: &str = "vm.do=echo,the,terminal,>/dev/tty1";

/// Words by which the bridge's DRM device is there before the native driver comes.
const BRIDGE_FIRST: &str = "console=tty0 earlycon=virtgpu virtgpu_bridge.framebuffer=always \
    vm.lines=60 vm.modprobe=virtgpu_bridge_kms";

/// The size of QEMU's screen.
const SIZE: (usize, usize) = (1280, 800);

/// How long a screen may take to show what was drawn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns a guest whose device the native driver has, in which `kms` does these steps in the
/// background.
fn native(guests: &Guests, steps: &str) -> Machine {
    drawing(guests.modular().append("console=tty0 vm.native"), steps)
}

/// Returns a guest whose device the bridge keeps, in which `kms` does these steps in the
/// background.
fn bridge(guests: &Guests, steps: &str) -> Machine {
    drawing(guests.vt().append("earlycon=virtgpu vm.lines=60"), steps)
}

/// Returns a guest with the driver as modules, to which the device belongs.
fn with_modules(guests: &Guests) -> Machine {
    guests.plain().append(ALONE).append(INSMOD)
}

/// Returns the same, in which fbcon draws the terminals, and `kms` does these steps in the
/// background.
fn module(guests: &Guests, steps: &str) -> Machine {
    drawing(with_modules(guests), steps)
}

/// Returns the same, in which there are no terminals on the screen, but the log.
fn module_and_log(guests: &Guests, steps: &str) -> Machine {
    let machine = with_modules(guests).append("vm.lines=60");
    drawing(machine.append("drm_client_lib.active="), steps)
}

/// Returns the machine with a GPU, on which `kms` does these steps in the background.
fn drawing(machine: Machine, steps: &str) -> Machine {
    drawing_on(machine, GPU, steps)
}

/// Returns the machine with this GPU, on which `kms` does these steps in the background.
fn drawing_on(machine: Machine, gpu: &str, steps: &str) -> Machine {
    let steps: Vec<&str> = steps.split_whitespace().collect();
    let machine = machine.append(&format!("vm.do=kms,{},&", steps.join(",")));
    machine.direct().device(gpu)
}

/// Returns a guest in which `kms` draws on our device, and holds it, when the native driver comes.
fn handover(guests: &Guests) -> Machine {
    let steps = "open show=1 say=shown flip=100000 hold";
    drawing(guests.modular().append(BRIDGE_FIRST), steps).append("vm.do=busybox,sleep,3")
}

/// Checks that the text is on the screen while there is no master and no terminal in graphics mode,
/// which does not matter to the module; and the picture else.
fn has_masters(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let picture = Painted::new(SIZE, 1);
    let is_module = machine.words().contains(INSMOD);
    // After `show`, `drop`, `master`, `graphics drop`, `text`, `master` and `close`.
    for (before, is_picture) in [true, false, true, !is_module, false, true, false]
        .into_iter()
        .enumerate()
    {
        let number = before + 1;
        if is_picture {
            shows(&mut vm, number, &picture).with_context(|| format!("wait {number}"))?;
        } else if number < 4 || is_module {
            waits(&mut vm, number)?;
            guests.has_same_text(&mut vm, None, out)?;
        } else {
            // Linux writes no log to a terminal in graphics mode: that line is missing.
            waits(&mut vm, number)?;
            let words = ["vm: line 60 the quick", "kms: waiting"];
            let text = guests.wait_for_words(&mut vm, &words, out)?;
            let waits = text.matches("kms: waiting").count();
            ensure!(waits == number - 1, "{waits} of {number} lines are there");
        }
        vm.send("\n")?;
    }
    vm.check()?;
    Ok("the text when there is no master, and the picture else".into())
}

/// Checks that the picture is there after sleep.
fn sleeps(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("suspend exit")?;
    shows(
        &mut vm,
        1,
        &Painted::new(SIZE, 1).with([10, 20, 100, 20], 3),
    )?;
    vm.check()?;
    Ok("the picture is there".into())
}

/// Checks that the screen is black after a suspend, as the program left it.
fn stays_dark(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("suspend exit")?;
    waits(&mut vm, 1)?;
    has_not_failed(&vm)?;
    let (_, dark) = vm.screenshot("dark.png", None)?;
    ensure!(is_black(&dark), "the screen is not off");
    vm.check()?;
    Ok("it is black".into())
}

/// Checks that the text is on the screen while the program waits.
fn has_text(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    waits(&mut vm, 1)?;
    has_not_failed(&vm)?;
    let rows = guests.has_same_text(&mut vm, None, out)?;
    Ok(equal(rows))
}

/// Checks that a terminal that is blanked blanks no picture, and is blanked again after that.
fn is_not_blanked(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    vm.send("\n")?;
    vm.wait("a black screen", PATIENCE * 3, |vm| {
        let (_, picture) = vm.screenshot("black.png", None)?;
        Ok((picture.is_blank() && is_black(&picture)).then_some(()))
    })?;
    vm.check()?;
    Ok("the picture, and then black".into())
}

/// Checks that two displays of different sizes show the picture, as far as it goes.
fn on_both(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let second = (640, 960);
    let (mut vm, _viewer) = with_second(machine, second, out)?;
    let painted = Painted::new(SIZE, 1).with([600, 700, 300, 300], 4);
    let narrow = painted.clone().on((second.0.into(), second.1.into()));
    shows_on(&mut vm, 1, &[&painted, &narrow])?;
    vm.send("\n")?;
    waits(&mut vm, 2)?;
    let second = Some(second);
    let seen = same_text_on(guests, &mut vm, [Some((1280, 800)), second], out)?;
    vm.check()?;
    Ok(format!("the picture on both, and then {seen}"))
}

/// Checks that a program draws on while the second display is unplugged, and another one plugged
/// in.
fn plugged(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, mut viewer) = with_second(machine, (640, 960), out)?;
    let picture = |seed| Painted::new(SIZE, seed);
    shows_on(&mut vm, 1, &[&picture(1), &picture(1).on((640, 960))])?;
    vm.send("\n")?;
    // The program begins to listen.
    thread::sleep(Duration::from_secs(1));
    viewer.resize(0, 0)?;
    shows_on(&mut vm, 2, &[&picture(2)])?;
    vm.send("\n")?;
    thread::sleep(Duration::from_secs(1));
    viewer.resize(1024, 768)?;
    shows_on(&mut vm, 3, &[&picture(3), &picture(3).on((1024, 768))])?;
    vm.check()?;
    Ok("a picture on two displays, on one, and on two".into())
}

/// Waits until `kms` has come to its `wait` of that number, and each display shows its picture.
fn shows_on(vm: &mut Vm, number: usize, displays: &[&Painted]) -> Result<()> {
    waits(vm, number)?;
    has_not_failed(vm)?;
    for (display, painted) in displays.iter().enumerate() {
        let name = format!("display-{display}-{number}.png");
        vm.wait("the picture", PATIENCE, |vm| {
            let (_, picture) = vm.screenshot_of(&name, Some(("gpu", display as i64)))?;
            Ok(painted.check(&picture).is_ok().then_some(()))
        })
        .with_context(|| format!("see {name}"))?;
    }
    Ok(())
}

fn is_black(picture: &Picture) -> bool {
    (0..picture.height).all(|y| (0..picture.width).all(|x| picture.at(x, y) == 0))
}

/// Checks that a warning takes the screen, and gives it back.
fn returns(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    guests.wait_for_words(&mut vm, &["WARNING: ", TRACE], out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    vm.check_crashed()?;
    Ok("the warning, and then the picture".into())
}

/// Checks that the picture is there when the program waits.
fn keeps_picture(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    vm.check()?;
    Ok("the picture is there".into())
}

/// Returns what `kms` says of EDIDs, in this order.
fn edids(vm: &Vm) -> Result<Vec<String>> {
    let serial = vm.serial()?;
    let log = String::from_utf8_lossy(&serial);
    let edid = |line: &str| Some(line.split_once(": edid ")?.1.trim().to_owned());
    Ok(log.lines().filter_map(edid).collect())
}

/// Checks that the EDID is the one that the native driver has after ours.
fn has_same_edid(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    for driver in ["virtgpu_bridge", "virtio_gpu"] {
        let count = times(&vm, &format!("info: driver {driver}"))?;
        ensure!(count == 1, "{count} programs were on {driver}");
    }
    let edids = edids(&vm)?;
    let [ours, native] = &edids[..] else {
        bail!("{} EDIDs, not two", edids.len());
    };
    ensure!(
        ours == native,
        "ours: {ours}; the native driver's: {native}"
    );
    ensure!(
        ours.contains("bytes, hash ") && !ours.contains(", 0x0 mm"),
        "it is {ours}"
    );
    vm.check()?;
    Ok(format!("the same as virtio_gpu: {ours}"))
}

/// Checks that a device without EDID has a screen all the same.
fn has_no_edid(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    let edids = edids(&vm)?;
    ensure!(edids == ["none"], "it is {edids:?}");
    vm.check()?;
    Ok("no EDID, and the picture".into())
}

/// Checks that a program learns of a display that has changed, if it has the same size.
fn hears(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let mut vm = machine.clone().option("-vnc", &viewed).start(out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    let mut viewer = Viewer::connect(&socket)?;
    vm.send("\n")?;
    // The program begins to listen.
    thread::sleep(Duration::from_secs(1));
    viewer.resize(SIZE.0 as u16, SIZE.1 as u16)?;
    shows(&mut vm, 2, &Painted::new(SIZE, 1))?;
    let edids = edids(&vm)?;
    let [edid] = &edids[..] else {
        bail!("{} EDIDs, not one", edids.len());
    };
    vm.check()?;
    Ok(format!("the same picture, {edid}"))
}

/// Checks that a mode that is smaller than the screen has its picture at the top left, and black
/// around it.
fn has_smaller(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let smaller = Painted::new(SIZE, 2).of((800, 600));
    shows(&mut vm, 1, &smaller)?;
    vm.send("\n")?;
    shows(&mut vm, 2, &smaller.with([700, 500, 100, 100], 3))?;
    vm.check()?;
    Ok("800x600 pixels on a larger screen".into())
}

/// Checks that the visible part of a picture that is larger than the screen is there, and the text
/// afterwards.
fn shows_what_is_visible(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let picture = Painted::new(SIZE, 2).from(30, 50);
    shows(&mut vm, 1, &picture)?;
    vm.send("\n")?;
    let parts = picture
        .with([0, 30, 900, 10], 3)
        .with([10, 40, 100, 30], 4)
        .with([1305, 400, 20, 20], 5);
    shows(&mut vm, 2, &parts)?;
    vm.send("\n")?;
    waits(&mut vm, 3)?;
    let rows = guests.has_log_end(&mut vm, None, out)?;
    vm.check()?;
    Ok(format!("what is visible, and then {}", equal(rows)))
}

/// Checks that a picture stays on a screen that becomes larger.
fn stays_small(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let mut vm = machine.clone().option("-vnc", &viewed).start(out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    let mut viewer = Viewer::connect(&socket)?;
    vm.send("\n")?;
    // The program begins to listen.
    thread::sleep(Duration::from_secs(1));
    viewer.resize(1600, 900)?;
    let picture = Painted::new(SIZE, 1).on((1600, 900));
    shows(&mut vm, 2, &picture.with([0, 0, 20, 20], 2))?;
    vm.check()?;
    Ok("the picture, and black around it".into())
}

/// Checks that a program learns of another size of the screen, and can draw in that.
fn follows(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const OTHER: (u16, u16) = (1024, 768);
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let mut vm = machine.clone().option("-vnc", &viewed).start(out)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    let mut viewer = Viewer::connect(&socket)?;
    vm.send("\n")?;
    // The program begins to listen.
    thread::sleep(Duration::from_secs(1));
    viewer.resize(OTHER.0, OTHER.1)?;
    let size = (OTHER.0.into(), OTHER.1.into());
    shows(&mut vm, 2, &Painted::new(size, 2))?;
    let edids = edids(&vm)?;
    let [before, after] = &edids[..] else {
        bail!("{} EDIDs, not two", edids.len());
    };
    let millimetres = |edid: &str| edid.split(", ").last().map(str::to_owned);
    ensure!(
        before.contains("hash ") && after.contains("hash "),
        "before: {before}; after: {after}"
    );
    ensure!(
        before != after && millimetres(before) != millimetres(after),
        "it has not changed: {after}"
    );
    vm.check()?;
    Ok(format!(
        "{}x{} pixels, then {}x{}; {before}, then {after}",
        SIZE.0, SIZE.1, size.0, size.1
    ))
}

/// Checks that a module loaded by its alias draws, and leaves the text when it is removed, twice.
fn comes_and_goes(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    for time in 1..=2 {
        shows(&mut vm, time, &Painted::new(SIZE, 1))?;
        vm.send("\n")?;
        vm.wait_for([WAITING, READY][time - 1])?;
        guests.has_log_end(&mut vm, None, out)?;
        vm.send("\n")?;
    }
    let drivers = times(&vm, "info: driver virtgpu_bridge")?;
    ensure!(drivers == 2, "{drivers} of 2 devices are the module's");
    vm.check()?;
    Ok("text, picture, text, twice".into())
}

/// Checks that a terminal is on the screen while no program draws there, with what was written to
/// it meanwhile.
fn has_terminal(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("kms: shown")?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    vm.send("\n")?;
    waits(&mut vm, 2)?;
    let text = guests.wait_for_words(&mut vm, &["the terminal", "written meanwhile"], out)?;
    ensure!(!text.contains("kms: waiting"), "the log is on the screen");
    has_not_failed(&vm)?;
    vm.check()?;
    Ok("a picture, and then the terminal".into())
}

/// Checks that fbcon's terminal is on a screen that becomes smaller, and larger.
fn terminal_follows(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let mut vm = machine.clone().option("-vnc", &viewed).start(out)?;
    guests.wait_for_words(&mut vm, &["the terminal"], out)?;
    let mut viewer = Viewer::connect(&socket)?;
    viewer.resize(1024, 768)?;
    let has_words = |vm: &mut Vm, (width, height), words: &str| {
        guests.wait_for_screen(vm, None, out, |screen, _| {
            let (columns, rows) = (width / screen.font.width, height / screen.font.height);
            let size = (screen.columns, screen.rows.len());
            ensure!(size == (columns, rows), "{size:?} characters");
            ensure!(screen.text().contains(words), "no '{words}'");
            Ok(())
        })
    };
    has_words(&mut vm, (1024, 768), "the terminal")?;
    vm.send("\n")?;
    has_words(&mut vm, (1024, 768), "written meanwhile")?;
    viewer.resize(1600, 900)?;
    has_words(&mut vm, (1600, 900), "written meanwhile")?;
    vm.check()?;
    Ok("a smaller screen, and a larger one".into())
}

/// Checks that all of fbcon's terminal is on a screen that becomes larger than when it began.
fn terminal_stays_whole(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let mut vm = machine.clone().option("-vnc", &viewed).start(out)?;
    let line = "x".repeat(140);
    guests.wait_for_words(&mut vm, &[&line], out)?;
    let mut viewer = Viewer::connect(&socket)?;
    viewer.resize(1600, 900)?;
    guests.wait_for_screen(&mut vm, None, out, |screen, _| {
        ensure!(screen.columns == 200, "{} columns", screen.columns);
        ensure!(screen.text().contains(&line), "the line is cut");
        Ok(())
    })?;
    vm.check()?;
    Ok("all of it on a larger screen".into())
}

/// Checks that there is a DRM device, and a terminal, after the device was unbound under a program
/// and bound again.
fn binds_again(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    waits(&mut vm, 1)?;
    ensure!(vm.serial_has("kms: shown")?, "nothing was drawn before");
    shows_picture(&mut vm, 1, &Painted::new(SIZE, 2))?;
    vm.send("\n")?;
    let text = guests.wait_for_words(&mut vm, &["the terminal again"], out)?;
    ensure!(!text.contains("kms: waiting"), "the log is on the screen");
    vm.check()?;
    Ok("a picture, and then the terminal".into())
}

/// The instructions that an update of so many pixels may cost.
const COSTS: [(&str, u64); 2] = [("100x20", 26_000), ("1280x800", 900_000)];

/// Counts the instructions of an update: a nanosecond is one.
fn costs(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("kms: counted")?;
    has_not_failed(&vm)?;
    let serial = vm.serial()?;
    let log = String::from_utf8_lossy(&serial);
    let mut seen = Vec::new();
    for (size, limit) in COSTS {
        let cost = painted::cost(&log, size)?;
        ensure!(
            cost <= limit,
            "{size} pixels cost {cost} instructions, not {limit}"
        );
        seen.push(format!("{size} pixels: {cost} instructions"));
    }
    vm.check()?;
    Ok(seen.join(", "))
}

fn gives_way(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    has_given_way(guests, machine, (1, 0), out)
}

fn gives_way_often(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    has_given_way(guests, machine, (10, 10), out)
}

/// Checks that the native driver gets the screen so many times, and we get it back so many times,
/// whatever programs hold.
fn has_given_way(
    guests: &Guests,
    machine: &Machine,
    (given, returned): (usize, usize),
    out: &Path,
) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    ensure!(vm.serial_has("kms: shown")?, "nothing was drawn before");
    changed_hands(&vm, given, returned)?;
    Ok(equal(rows))
}

/// Waits until `kms` has come to its `wait` of that number.
fn waits(vm: &mut Vm, number: usize) -> Result<()> {
    vm.wait(&format!("wait {number} of kms"), PATIENCE * 12, |vm| {
        Ok((times(vm, "kms: waiting")? >= number).then_some(()))
    })
}

/// Waits until `kms` has come to its `wait` of that number, and the screen shows what it drew.
fn shows(vm: &mut Vm, number: usize, painted: &Painted) -> Result<()> {
    waits(vm, number)?;
    has_not_failed(vm)?;
    shows_picture(vm, number, painted)
}

/// Waits until the screen shows what `kms` drew. Its steps may have failed.
fn shows_picture(vm: &mut Vm, number: usize, painted: &Painted) -> Result<()> {
    let begun = Instant::now();
    loop {
        let (path, picture) = vm.screenshot(&format!("screen-{number}.png"), None)?;
        match painted.check(&picture) {
            Ok(()) => return Ok(()),
            Err(_) if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(200)),
            Err(error) => return Err(error.context(format!("see {}", path.display()))),
        }
    }
}

/// Fails with the first step of `kms` that did.
fn has_not_failed(vm: &Vm) -> Result<()> {
    let serial = vm.serial()?;
    let log = String::from_utf8_lossy(&serial);
    let failed = |line: &&str| {
        let step = line.split_once("kms: ").map_or("", |(_, step)| step);
        step.contains(": E") || step.contains("did not fail") || step.contains(": error ")
    };
    match log.lines().find(failed) {
        Some(line) => bail!("the guest says '{}'", line.trim()),
        None => Ok(()),
    }
}

/// Checks each way to draw.
fn every_step(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let shown = Painted::new(SIZE, 1);
    let inside = shown.clone().with([10, 20, 100, 20], 3);
    let beyond = inside.clone().with([1200, 700, 300, 300], 4);
    let committed = Painted::new(SIZE, 5);
    let damaged = committed.clone().with([333, 77, 55, 111], 6);
    // The ninth flip after picture 1 is to picture 2.
    let flipped = Painted::new(SIZE, 2);
    let pictures = [shown, inside, beyond, committed, damaged, flipped];
    for (before, painted) in pictures.iter().enumerate() {
        shows(&mut vm, before + 1, painted)?;
        vm.send("\n")?;
    }
    vm.wait_for("kms: dark")?;
    has_not_failed(&vm)?;
    let (_, dark) = vm.screenshot("dark.png", None)?;
    let is_native = machine.words().contains("vm.native");
    // QEMU says in its own words that the native driver's is off.
    ensure!(is_black(&dark) != is_native, "the screen is not off");
    let serial = vm.serial()?;
    let log = String::from_utf8_lossy(&serial);
    let driver = match is_native {
        true => "info: driver virtio_gpu",
        false => "info: driver virtgpu_bridge",
    };
    for words in [driver, "info: mode 1280x800@"] {
        ensure!(log.contains(words), "nobody says 'kms: {words}'");
    }
    let flips = log.split_once("kms: flip: ");
    let (_, flips) = flips.context("nobody tells of flips")?;
    vm.check()?;
    Ok(format!(
        "{} pictures, {}",
        pictures.len(),
        flips.lines().next().unwrap_or_default().trim()
    ))
}

/// Checks that wrong arguments harm nobody, and that a screen comes afterwards.
fn survives_random(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("kms: random done")?;
    shows(&mut vm, 1, &Painted::new(SIZE, 2))?;
    vm.check()?;
    Ok("the picture is there".into())
}

/// Checks that the console comes back when the program is killed.
fn killed(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(WAITING)?;
    shows(&mut vm, 1, &Painted::new(SIZE, 1))?;
    // It is a line for either, and the second one ends the wait of the other.
    vm.send("\n")?;
    vm.send("\n")?;
    let rows = guests.has_same_text(&mut vm, None, out)?;
    Ok(equal(rows))
}
