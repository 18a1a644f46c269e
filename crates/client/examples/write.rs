//! Writes an hour of temperatures through a router on this machine: `cargo run -p meridian-client --example write`.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use meridian_client::{Writer, WriterSettings, connect};
use meridian_env::real;
use meridian_types::{Failure, SeriesKey, Timestamp, ValueRef};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(write(&real::env()?))?)
}

async fn write(env: &meridian_env::Env) -> Result<(), Failure> {
    let mut writer = Writer::open(env, connect(env, "127.0.0.1:7171"), "demo", WriterSettings::default());
    let oslo = SeriesKey::from_tags(&mut [("city", "oslo")]).expect("a name and a value");
    let now = env.clock.wall();
    for second in 0..3_600 {
        let time: Timestamp = now.saturating_add(-second * 1_000_000_000);
        let fields = [("temperature", ValueRef::F64(3.5)), ("humidity", ValueRef::I64(71))];
        // The number of the row, by which a report names it.
        writer.push("weather", &oslo, time, &fields).await?;
    }
    let report = writer.flush().await?;
    for (what, list) in [("refused", &report.refused), ("not known to be stored", &report.unknown)] {
        list.iter().for_each(|rows| println!("rows {:?} are {what}: {}", rows.rows, rows.failure));
    }
    println!("{} rows are stored", report.rows);
    Ok(())
}
