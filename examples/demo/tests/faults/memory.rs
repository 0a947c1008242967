//! F18: little memory. A burst of confirms, each of which wants 19 MiB for its hash, and of connections fits into half a
//! gigabyte of address space, because only so many hashes run at once.

use std::io::Write as _;
use std::process::Command;
use std::thread;

use crate::process::{connect, receive};
use crate::site::{Site, confirm, email, password};

#[tokio::test]
async fn a_burst_fits_into_half_a_gigabyte() {
    let site = Site::new(60).await;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 524288 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_demo")]);
    // For each thread the C library would reserve 64 MiB of addresses, which is no memory.
    command.env("MALLOC_ARENA_MAX", "2");
    let demo = site.start_by(&mut command, &[]);
    let hashes = site.hashes().await;
    let ask = |id: usize| {
        let request = confirm(demo.address, &site.token(id, &hashes[id]), &password(id, 1));
        let mut stream = connect(demo.address);
        thread::spawn(move || {
            stream.write_all(&request).unwrap();
            receive(&mut stream).status
        })
    };
    let clients: Vec<_> = site.users().map(ask).collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    assert_eq!(demo.login(&email(0), "the old password of everybody"), 401);
    assert_eq!(demo.login(&email(0), &password(0, 1)), 200);
}
