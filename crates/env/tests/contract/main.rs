//! What every disk, every work and every catalogue must do, real or simulated: one suite, run on both.
//! What only a crash shows is tested in `src/sim`.

mod catalogue;
mod disk;
mod net;
mod work;

use std::path::PathBuf;

use meridian_env::sim::SimHost;
use meridian_env::{Env, Rng};

/// One world and an empty directory in it.
struct World {
    env: Env,
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

fn real() -> World {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let env = meridian_env::real::env().expect("threads start");
    World { env, dir: temporary.path().to_owned(), _temporary: Some(temporary) }
}

fn simulated() -> World {
    let world = World { env: SimHost::new("n1", &Rng::from_seed(1)).env(), dir: "/data".into(), _temporary: None };
    world.env.disk.create_dir(&world.dir).expect("made");
    world
}

/// Makes of each contract two tests: `contract::real` and `contract::simulated`.
macro_rules! on_both {
    ($($contract:ident),* $(,)?) => {
        $(mod $contract {
            #[test]
            fn real() {
                super::$contract(&crate::real());
            }

            #[test]
            fn simulated() {
                super::$contract(&crate::simulated());
            }
        })*
    };
}
use on_both;
