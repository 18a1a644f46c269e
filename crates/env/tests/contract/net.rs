//! The contract of `Net`: bytes both ways, who is at the other end, and errors that name the address.

use std::time::Duration;

use meridian_env::sim::SimHost;
use meridian_env::{Conn, Env, Net, Rng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn ask(mut conn: Conn) -> std::io::Result<String> {
    conn.write_all(b"ping").await?;
    conn.shutdown().await?;
    let mut answer = String::new();
    conn.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Takes connections for ever; answers what it was told, and who told it.
async fn answer(net: &dyn Net, at: &str, bound: impl FnOnce(String)) -> std::io::Result<()> {
    let mut listener = net.listen(at).await?;
    bound(listener.local_addr());
    loop {
        let mut conn = listener.accept().await?;
        let mut question = String::new();
        conn.read_to_string(&mut question).await?;
        conn.write_all(format!("{question} from {}", conn.peer.address).as_bytes()).await?;
        conn.shutdown().await?;
    }
}

#[test]
fn real() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let Env { net, .. } = crate::real().env;
        let (sender, bound) = tokio::sync::oneshot::channel();
        let server = std::sync::Arc::clone(&net);
        tokio::spawn(async move { answer(&*server, "127.0.0.1:0", |at| sender.send(at).expect("awaited")).await });
        let address = bound.await.expect("bound");
        let conn = net.connect(&address).await.expect("connected");
        assert_eq!(*conn.peer.address, *address);
        let said = ask(conn).await.expect("answered");
        assert!(said.starts_with("ping from 127.0.0.1:"), "{said}");
        let taken = net.listen(&address).await.expect_err("taken");
        assert!(taken.to_string().contains(&address), "{taken}");
        assert!(net.connect("127.0.0.1:1").await.expect_err("nobody").to_string().contains("127.0.0.1:1"));
    });
}

#[test]
fn simulated() {
    let world = Rng::from_seed(1);
    let mut sim = turmoil::Builder::new().rng_seed(1).simulation_duration(Duration::from_secs(5)).build();
    let host = SimHost::new("server", &world);
    sim.host("server", move || {
        let env = host.env();
        async move { Ok(answer(&*env.net, "server:0", |at| assert_eq!(at, "server:40000")).await?) }
    });
    let client = SimHost::new("client", &world);
    sim.client("client", async move {
        let Env { net, clock, .. } = client.env();
        let start = clock.wall();
        assert!(start.to_string().starts_with("2026-01-01T00:00:0"), "{start}");
        client.clock().set_offset_nanos(-5_000_000_000);
        assert!(clock.wall() < start);
        let said = ask(net.connect("server:40000").await?).await?;
        assert!(said.starts_with("ping from 192.168."), "{said}");
        for bad in ["server:1", "nobody:40000", "server", "server:x"] {
            net.connect(bad).await.expect_err("nobody there");
        }
        Ok(())
    });
    sim.run().expect("the simulation ends well");
}
