// The words of texts by llama.cpp's own splitter: `words EXPRESSION...` reads one text per line, in
// hexadecimal, and prints the lengths of its words in code points.
#include "unicode.h"

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char ** argv) {
    const std::vector<std::string> expressions(argv + 1, argv + argc);
    for (std::string line; std::getline(std::cin, line);) {
        std::string text;
        for (size_t at = 0; at + 1 < line.size(); at += 2) {
            text += (char) std::stoi(line.substr(at, 2), nullptr, 16);
        }
        for (const std::string & word : unicode_regex_split(text, expressions, false)) {
            std::printf("%zu ", unicode_cpts_from_utf8(word).size());
        }
        std::puts("");
    }
}
