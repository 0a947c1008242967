//! [`Argon2id`]: the default password hasher.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::try_generate_salt;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;

use super::hasher::PasswordHasher;
use crate::error::BoxError;

/// Argon2id hasher with the parameters of the OWASP Password Storage Cheat Sheet: 19 MiB of memory, two passes, one lane and
/// a random salt of 16 bytes.
///
/// Hashes are PHC strings. One hash takes about 20 ms.
///
/// Clones share their working memory, which is wiped and reused for later hashes. Its size is 19 MiB times the largest number
/// of hashes that ran at once. Without reuse, the allocator of the GNU C library keeps memory for each thread: a process grows
/// to 300 MiB after a few dozen hashes.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Argon2id {
    idle: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Argon2id {
    const MEMORY_KIB: u32 = 19 * 1024;
    const PASSES: u32 = 2;
    const LANES: u32 = 1;

    /// Returns whether `hash` is a hash of `password`. Accepts every Argon2 hash in PHC format, with any parameters.
    ///
    /// The sign-in of an application can use a clone of the hasher that the reset uses, to share its memory. A call blocks as
    /// long as hashing does. Run it in `tokio::task::spawn_blocking`, with at most as many calls at once as the machine has
    /// cores.
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
    /// Returns an error if `hash` is not an Argon2 hash in PHC format. The error does not contain the hash.
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

    /// Hashes a password in reused memory, or in new memory if all of it is in use.
    fn output(&self, argon2: &Argon2<'_>, password: &str, salt: &[u8], length: usize) -> Result<Output, BoxError> {
        let mut memory = Memory { idle: &self.idle, blocks: self.idle().pop().unwrap_or_default() };
        let block_count = memory.blocks.len().max(argon2.params().block_count());
        memory.blocks.resize(block_count, Block::new());
        let mut buffer = [0; Output::MAX_LENGTH];
        let output = buffer.get_mut(..length).ok_or("the password hash is longer than the PHC format allows")?;
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

/// Working memory of one hash. Dropping it, also during a panic, wipes it and makes it available to the next hash.
struct Memory<'i> {
    idle: &'i Mutex<Vec<Vec<Block>>>,
    blocks: Vec<Block>,
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // The blocks contain intermediate results, which would let an attacker guess the password faster.
        self.blocks.fill(Block::new());
        lock(self.idle).push(std::mem::take(&mut self.blocks));
    }
}

fn lock(idle: &Mutex<Vec<Vec<Block>>>) -> MutexGuard<'_, Vec<Vec<Block>>> {
    // A panic cannot leave the list half changed: it is only pushed to and popped from.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    const PASSWORD: &str = "correct horse battery staple";

    #[test]
    fn hash_uses_owasp_parameters_and_a_new_salt() {
        let argon2id = Argon2id::default();
        let hash = argon2id.hash(PASSWORD).unwrap();
        let parts: Vec<&str> = hash.split('$').collect();
        assert_eq!(parts[1..4], ["argon2id", "v=19", "m=19456,t=2,p=1"]);
        assert!(parts[4].len() >= 22, "the salt has at least 16 bytes: {}", parts[4]);
        assert_ne!(hash, argon2id.hash(PASSWORD).unwrap(), "each hash has a new salt");
    }

    #[test]
    fn hashes_agree_with_the_argon2_crate() {
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
    fn verify_with_malformed_hash_returns_an_error_that_does_not_quote_it() {
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
    fn memory_is_reused_and_wiped() {
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
        assert!((1..=3).contains(&idle.len()), "one for each hash that ran at once: {}", idle.len());
        for blocks in idle.iter() {
            assert_eq!(blocks.len(), 19_456);
            assert!(blocks.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        }
    }
}
