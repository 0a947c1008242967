//! [`Argon2id`]: the default hasher.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::try_generate_salt;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;

use super::hasher::PasswordHasher;
use crate::error::BoxError;

/// Argon2id with the parameters of the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane, and a random
/// salt of 16 bytes. Makes PHC strings; one hash takes about 20 ms.
///
/// Clones share the memory that the work is done in. It is kept for the next hash, wiped: 19 MiB for each hash that ever ran
/// at the same time as others, and no more. Allocators are bad at giving such pieces back when each thread asks for its own:
/// with that of the GNU C library a few dozen hashes would leave a process of 300 MiB.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Argon2id {
    idle: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Argon2id {
    const MEMORY_KIB: u32 = 19 * 1024;
    const PASSES: u32 = 2;
    const LANES: u32 = 1;

    /// Whether `hash` is one of `password`: for a sign-in, which may share its memory with the reset by a clone of this.
    /// Reads every Argon2 hash in the form of PHC, with whatever parameters it was made.
    ///
    /// Blocks its thread as long as hashing does, so it belongs in `tokio::task::spawn_blocking`, and no more often at once
    /// than there are cores.
    ///
    /// ```
    /// use poem_password_reset::{Argon2id, PasswordHasher};
    ///
    /// let argon2id = Argon2id::default();
    /// let stored = argon2id.hash("correct horse battery staple")?;
    /// assert!(argon2id.verify("correct horse battery staple", &stored)?);
    /// assert!(!argon2id.verify("correct horse battery stable", &stored)?);
    /// # Ok::<(), poem_password_reset::BoxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `hash` is not an Argon2 hash in the form of PHC. The error does not quote it.
    pub fn verify(&self, password: &str, hash: &str) -> Result<bool, BoxError> {
        let stored = PasswordHash::new(hash)?;
        let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
            return Err("the stored password hash has no salt or no hash".into());
        };
        let version = stored.version.map_or(Ok(Version::default()), Version::try_from)?;
        let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
        let argon2 = Argon2::new(algorithm, version, Params::try_from(&stored)?);
        let output = self.output(&argon2, password, salt, expected.len())?;
        Ok(output.as_bytes().ct_eq(expected.as_bytes()).into())
    }

    /// What Argon2 makes of a password, in memory that was used before if there is any.
    fn output(&self, argon2: &Argon2<'_>, password: &str, salt: &[u8], length: usize) -> Result<Output, BoxError> {
        let mut memory = Lent { idle: &self.idle, blocks: self.idle().pop().unwrap_or_default() };
        let blocks = argon2.params().block_count();
        let room = memory.blocks.len().max(blocks);
        memory.blocks.resize(room, Block::new());
        let mut buffer = [0; Output::MAX_LENGTH];
        let output = buffer.get_mut(..length).ok_or("a password hash is longer than the form of PHC allows")?;
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut memory.blocks)?;
        Ok(Output::new(output)?)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        lock(&self.idle)
    }
}

impl PasswordHasher for Argon2id {
    fn hash(&self, password: &str) -> Result<String, BoxError> {
        let params = Params::new(Self::MEMORY_KIB, Self::PASSES, Self::LANES, None)?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let params_text = ParamsString::try_from(&params)?;
        let salt = Salt::new(&try_generate_salt()?)?;
        let argon2 = Argon2::new(algorithm, version, params);
        let output = self.output(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN)?;
        let hash = PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: params_text,
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(hash.to_string())
    }
}

impl fmt::Debug for Argon2id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argon2id").finish_non_exhaustive()
    }
}

/// Memory that is given back when the work is done, or has panicked.
struct Lent<'i> {
    idle: &'i Mutex<Vec<Vec<Block>>>,
    blocks: Vec<Block>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // What is left of the work would make guessing the password cheaper than Argon2 makes it.
        self.blocks.fill(Block::new());
        lock(self.idle).push(std::mem::take(&mut self.blocks));
    }
}

fn lock(idle: &Mutex<Vec<Vec<Block>>>) -> MutexGuard<'_, Vec<Vec<Block>>> {
    // What is behind it is whole at any moment.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    const PASSWORD: &str = "correct horse battery staple";

    #[test]
    fn argon2id_as_owasp_wants_it() {
        let argon2id = Argon2id::default();
        let hash = argon2id.hash(PASSWORD).unwrap();
        let parts: Vec<&str> = hash.split('$').collect();
        assert_eq!(parts[1..4], ["argon2id", "v=19", "m=19456,t=2,p=1"]);
        assert!(parts[4].len() >= 22, "a salt of 16 bytes or more: {}", parts[4]);
        assert_ne!(hash, argon2id.hash(PASSWORD).unwrap(), "a new salt each time");
    }

    #[test]
    fn it_is_argon2_as_the_crate_computes_it() {
        let argon2id = Argon2id::default();
        for _ in 0..3 {
            let hash = argon2id.hash(PASSWORD).unwrap();
            assert_eq!(Argon2::default().verify_password(PASSWORD.as_bytes(), hash.as_str()), Ok(()));
        }
        for (algorithm, version, memory, passes, lanes, length) in [
            (Algorithm::Argon2id, Version::V0x13, 19_456, 2, 1, None),
            (Algorithm::Argon2i, Version::V0x13, 32_768, 1, 1, Some(16)),
            (Algorithm::Argon2d, Version::V0x10, 64, 3, 4, Some(48)),
        ] {
            let params = Params::new(memory, passes, lanes, length).unwrap();
            let stored =
                Argon2::new(algorithm, version, params).hash_password(PASSWORD.as_bytes()).unwrap().to_string();
            assert!(argon2id.verify(PASSWORD, &stored).unwrap(), "{stored}");
            assert!(!argon2id.verify("correct horse battery stable", &stored).unwrap(), "{stored}");
        }
    }

    #[test]
    fn what_is_no_hash_is_an_error_that_quotes_nothing() {
        let hash = Argon2id::default().hash(PASSWORD).unwrap();
        let without_salt = hash.rsplitn(3, '$').last().unwrap().to_owned();
        let bcrypt = "$2b$04$YLkqqkKqoXdVMNPvGZ9Z9uIjA7qSVnIzPzL1s6wVpCzcNVyIcxP4m".to_owned();
        let cut = hash[..hash.len() - 40].to_owned();
        for stored in ["", "x", PASSWORD, &without_salt, &bcrypt, &hash.replace("argon2id", "argon3"), &cut] {
            let error = Argon2id::default().verify(PASSWORD, stored).expect_err(stored).to_string();
            assert!(stored.len() < 9 || !error.contains(&stored[..9]), "{error}");
        }
    }

    #[test]
    fn memory_is_used_again_and_holds_nothing() {
        let argon2id = Argon2id::default();
        for _ in 0..3 {
            argon2id.clone().hash(PASSWORD).unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| argon2id.hash(PASSWORD).unwrap());
            }
        });
        let idle = argon2id.idle();
        assert!((1..=3).contains(&idle.len()), "as many as worked at once: {}", idle.len());
        for blocks in idle.iter() {
            assert_eq!(blocks.len(), 19_456);
            assert!(blocks.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        }
    }
}
