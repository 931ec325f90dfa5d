/** Preloaded by bunfig.toml before every test file: expensive invariants are on in all tests. */
process.env["DKV_INVARIANTS"] = "1";
