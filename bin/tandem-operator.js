#!/usr/bin/env node
import "../dist/tandem-operator.js";
