// SPDX-License-Identifier: GPL-2.0

//! One fuzzer for all targets: the environment variable `TARGET` selects one. With `SEEDS`, a
//! folder, it first writes the initial inputs of the target there: its seeds, and inputs that
//! failed before.

#![no_main]

use std::{
    env,
    fs,
    path::PathBuf,
    sync::OnceLock, //
};

use host::fuzz::{
    inputs,
    Target,
    TARGETS, //
};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn init() {
    let name = env::var("TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("TARGET is \"{name}\", not one of {}", names.join(", "));
    };
    if let Some(folder) = env::var_os("SEEDS").map(PathBuf::from) {
        fs::create_dir_all(&folder).expect("the folder of the seeds can be made");
        let kept = inputs()
            .into_iter()
            .filter(|(name, _)| *name == target.name);
        let seeds = (target.seeds)()
            .into_iter()
            .chain(kept.map(|(_, input)| input));
        for (number, seed) in seeds.enumerate() {
            fs::write(folder.join(format!("{name}-{number}")), seed)
                .expect("a seed can be written");
        }
    }
    TARGET.get_or_init(|| target);
}

fuzz_target!(init: init(), |input: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(input);
    }
});
