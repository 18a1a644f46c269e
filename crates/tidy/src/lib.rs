//! The rules of this repository that a program can check, as tests: `cargo test -p meridian-tidy`.
//!
//! Everything is in `tests/tidy/`, because nothing may depend on this crate and it exports nothing. The rules' data stands
//! where people read it: `ARCHITECTURE.md` (allowed edges), `deny.toml` (licences, bans, minimum versions) and
//! `docs/decisions/dependencies.md` (why each dependency is here).
