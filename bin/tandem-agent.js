#!/usr/bin/env node
import "../dist/tandem-agent.js";
