#!/usr/bin/env node
import "../dist/tandem-proxy.js";
