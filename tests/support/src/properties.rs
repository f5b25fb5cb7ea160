use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};

/// Returns a configuration with which a property is checked on the same cases in every run, unless
/// `PROPTEST_RNG_SEED` selects others. Cases that fail are added to the file of regressions, which is committed; the
/// cases in it are checked first.
pub fn property(cases: u32, regressions: &'static str) -> Config {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct(regressions)) as _);
    Config { cases, rng_seed, failure_persistence, ..default }
}
