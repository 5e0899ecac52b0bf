/* shared_cot_examples.c - worked examples of Wei et al. 2022 (CC BY 4.0): questions, reasoning, answers. What the
 * authors' reasoning gets wrong is left as it is: the fox's "natural habitat" has the answer (B), hen house. */
#include "shared_cot.h"

const bl_cot_example bl_cot_math[] = {
    {"There are 15 trees in the grove. Grove workers will plant trees in the grove today. After they are done, there "
     "will be 21 trees. How many trees did the grove workers plant today?",
     "There are 15 trees originally. Then there were 21 trees after some more were planted. So there must have been 21 "
     "- 15 = 6.",
     "6"},
    {"If there are 3 cars in the parking lot and 2 more cars arrive, how many cars are in the parking lot?",
     "There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5.", "5"},
    {"Leah had 32 chocolates and her sister had 42. If they ate 35, how many pieces do they have left in total?",
     "Originally, Leah had 32 chocolates. Her sister had 42. So in total they had 32 + 42 = 74. After eating 35, they "
     "had 74 - 35 = 39.",
     "39"},
    {"Jason had 20 lollipops. He gave Denny some lollipops. Now Jason has 12 lollipops. How many lollipops did Jason "
     "give to Denny?",
     "Jason started with 20 lollipops. Then he had 12 after giving some to Denny. So he gave Denny 20 - 12 = 8.", "8"},
    {"Shawn has five toys. For Christmas, he got two toys each from his mom and dad. How many toys does he have now?",
     "Shawn started with 5 toys. If he got 2 toys each from his mom and dad, then that is 4 more toys. 5 + 4 = 9.",
     "9"},
    {"There were nine computers in the server room. Five more computers were installed each day, from monday to "
     "thursday. How many computers are now in the server room?",
     "There were originally 9 computers. For each of 4 days, 5 more computers were added. So 5 * 4 = 20 computers were "
     "added. 9 + 20 is 29.",
     "29"},
    {"Michael had 58 golf balls. On tuesday, he lost 23 golf balls. On wednesday, he lost 2 more. How many golf balls "
     "did he have at the end of wednesday?",
     "Michael started with 58 golf balls. After losing 23 on tuesday, he had 58 - 23 = 35. After losing 2 more, he had "
     "35 - 2 = 33 golf balls.",
     "33"},
    {"Olivia has $23. She bought five bagels for $3 each. How much money does she have left?",
     "Olivia had 23 dollars. 5 bagels for 3 dollars each will be 5 x 3 = 15 dollars. So she has 23 - 15 dollars left. "
     "23 - 15 is 8.",
     "8"},
};

const bl_cot_example bl_cot_aqua[] = {
    {"John found that the average of 15 numbers is 40. If 10 is added to each number then the mean of the numbers is? "
     "Answer Choices: (A) 50 (B) 45 (C) 65 (D) 78 (E) 64",
     "If 10 is added to each number, then the mean of the numbers also increases by 10. So the new mean would be 50.",
     "(A)"},
    {"If a / b = 3/4 and 8a + 5b = 22,then find the value of a. Answer Choices: (A) 1/2 (B) 3/2 (C) 5/2 (D) 4/2 (E) "
     "7/2",
     "If a / b = 3/4, then b = 4a / 3. So 8a + 5(4a / 3) = 22. This simplifies to 8a + 20a / 3 = 22, which means 44a / "
     "3 = 22. So a is equal to 3/2.",
     "(B)"},
    {"A person is traveling at 20 km/hr and reached his destiny in 2.5 hr then find the distance? Answer Choices: (A) "
     "53 km (B) 55 km (C) 52 km (D) 60 km (E) 50 km",
     "The distance that the person traveled would have been 20 km/hr * 2.5 hrs = 50 km.", "(E)"},
    {"How many keystrokes are needed to type the numbers from 1 to 500? Answer Choices: (A) 1156 (B) 1392 (C) 1480 (D) "
     "1562 (E) 1788",
     "There are 9 one-digit numbers from 1 to 9. There are 90 two-digit numbers from 10 to 99. There are 401 "
     "three-digit numbers from 100 to 500. 9 + 90(2) + 401(3) = 1392.",
     "(B)"},
};

const bl_cot_example bl_cot_commonsense[] = {
    {"What do people use to absorb extra ink from a fountain pen? Answer Choices: (A) shirt pocket (B) calligrapher's "
     "hand (C) inkwell (D) desk drawer (E) blotter",
     "The answer must be an item that can absorb ink. Of the above choices, only blotters are used to absorb ink.",
     "(E)"},
    {"What home entertainment equipment requires cable? Answer Choices: (A) radio shack (B) substation (C) television "
     "(D) cabinet",
     "The answer must require cable. Of the above choices, only television requires cable.", "(C)"},
    {"The fox walked from the city into the forest, what was it looking for? Answer Choices: (A) pretty flowers (B) "
     "hen house (C) natural habitat (D) storybook",
     "The answer must be something in the forest. Of the above choices, only natural habitat is in the forest.", "(B)"},
    {"Sammy wanted to go to where the people were. Where might he go? Answer Choices: (A) populated areas (B) race "
     "track (C) desert (D) apartment (E) roadblock",
     "The answer must be a place with a lot of people. Of the above choices, only populated areas have a lot of "
     "people.",
     "(A)"},
    {"Where do you put your grapes just before checking out? Answer Choices: (A) mouth (B) grocery cart (C)supermarket "
     "(D) fruit basket (E) fruit market",
     "The answer should be the place where grocery items are placed before checking out. Of the above choices, grocery "
     "cart makes the most sense for holding grocery items.",
     "(B)"},
    {"Google Maps and other highway and street GPS services have replaced what? Answer Choices: (A) united states (B) "
     "mexico (C) countryside (D) atlas",
     "The answer must be something that used to do what Google Maps and GPS services do, which is to give directions. "
     "Of the above choices, only atlases are used to give directions.",
     "(D)"},
    {"Before getting a divorce, what did the wife feel who was doing all the work? Answer Choices: (A) harder (B) "
     "anguish (C) bitterness (D) tears (E) sadness",
     "The answer should be the feeling of someone getting divorced who was doing all the work. Of the above choices, "
     "the closest feeling is bitterness.",
     "(C)"},
};

const bl_cot_example bl_cot_strategy[] = {
    {"Do hamsters provide food for any animals?",
     "Hamsters are prey animals. Prey are food for predators. Thus, hamsters provide food for some animals.", "yes"},
    {"Could Brooke Shields succeed at University of Pennsylvania?",
     "Brooke Shields went to Princeton University. Princeton University is about as academically rigorous as the "
     "University of Pennsylvania. Thus, Brooke Shields could also succeed at the University of Pennsylvania.",
     "yes"},
    {"Yes or no: Hydrogen's atomic number squared exceeds number of Spice Girls?",
     "Hydrogen has an atomic number of 1. 1 squared is 1. There are 5 Spice Girls. Thus, Hydrogen's atomic number "
     "squared is less than 5.",
     "no"},
    {"Yes or no: Is it common to see frost during some college commencements?",
     "College commencement ceremonies can happen in December, May, and June. December is in the winter, so there can "
     "be frost. Thus, there could be frost at some commencements.",
     "yes"},
    {"Yes or no: Could a llama birth twice during War in Vietnam (1945-46)?",
     "The War in Vietnam was 6 months. The gestation period for a llama is 11 months, which is more than 6 months. "
     "Thus, a llama could not give birth twice during the War in Vietnam.",
     "no"},
    {"Yes or no: Would a pear sink in water?",
     "The density of a pear is about 0.6g/cm3, which is less than water. Objects less dense than water float. Thus, a "
     "pear would float.",
     "no"},
};
