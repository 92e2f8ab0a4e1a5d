console.log("VM: hello " + process.version); console.log("1 passed, 0 failed");
