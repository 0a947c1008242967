//! F18: limited memory. A burst of 60 confirmations runs in 512 MiB of address space. Each hash needs 19 MiB, so the number
//! of hashes that run at the same time must be limited.

use std::io::Write as _;
use std::process::Command;
use std::thread;

use crate::process::{connect, receive};
use crate::site::{Site, confirm, email, password};

#[tokio::test]
async fn burst_of_confirmations_runs_in_512_mib() {
    let site = Site::new(60).await;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 524288 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_demo")]);
    // glibc reserves 64 MiB of address space for each thread's arena, without using that memory.
    command.env("MALLOC_ARENA_MAX", "2");
    let demo = site.start_with_command(&mut command, &[]);
    let hashes = site.hashes().await;
    let send = |id: usize| {
        let request = confirm(demo.address, &site.token(id, &hashes[id]), &password(id, 1));
        let mut stream = connect(demo.address);
        thread::spawn(move || {
            stream.write_all(&request).unwrap();
            receive(&mut stream).status
        })
    };
    let clients: Vec<_> = site.users().map(send).collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    assert_eq!(demo.login(&email(0), "the old password of all users"), 401);
    assert_eq!(demo.login(&email(0), &password(0, 1)), 200);
}
