/** The tests as scripts/bundle-tests.js made them of those of package.json's configuration. */
export default {
  extensions: ["mjs"],
  nodeArguments: ["--enable-source-maps"],
  workerThreads: false,
  timeout: "5m",
  files: ["build/tests/**/*.test.mjs"],
};
